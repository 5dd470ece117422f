#include "ops/encode.hpp"

#include "ops/digits.hpp"

namespace pintsize {
namespace {

typedef uint8_t B16 __attribute__((vector_size(16)));

PINTSIZE_INLINE B16 load16(const uint8_t* p) {
  B16 v;
  std::memcpy(&v, p, 16);
  return v;
}

// One plane of digits, taken from the codes' bits from `shift` on.
template <int BITS>
PINTSIZE_INLINE uint8_t* pack_plane(const uint8_t* codes, int64_t digits, int shift, uint8_t* out) {
  constexpr int64_t per = PER_BYTE<BITS>, wide = BLOCK * per;
  constexpr uint8_t mask = BITS ? (1 << BITS) - 1 : 255;
  for (; digits > 0; digits -= wide, codes += wide) {
    const int64_t rest = digits < wide ? digits : wide, width = (rest + per - 1) / per;
    const uint8_t* from = codes;
    uint8_t line[wide];
    if (rest < wide) {
      // Spread to blocks of 16, so that the loop below is the same for the last, shorter block.
      std::memset(line, 0, sizeof line);
      for (int64_t g = 0; g * width < rest; ++g) {
        const int64_t count = rest - g * width < width ? rest - g * width : width;
        for (int64_t j = 0; j < count; ++j) line[g * BLOCK + j] = codes[g * width + j];
      }
      from = line;
    }
    uint8_t bytes[BLOCK];
    if constexpr (BITS == 0) {
      for (int64_t j = 0; j < BLOCK; ++j) {
        unsigned value = 0;
        for (int64_t g = 0; g < per; ++g) value = 3 * value + from[g * BLOCK + j];
        bytes[j] = static_cast<uint8_t>((256 * value + 242) / 243);
      }
    } else {
      B16 joined{};
#pragma GCC unroll 8
      for (int64_t g = 0; g < per; ++g) joined |= ((load16(from + g * BLOCK) >> shift) & mask) << static_cast<int>(g * BITS);
      std::memcpy(bytes, &joined, BLOCK);
    }
    std::memcpy(out, bytes, static_cast<size_t>(width));
    out += width;
  }
  return out;
}

PINTSIZE_INLINE void pack_row(const uint8_t* codes, int64_t digits, int levels, uint8_t* out) {
  int planes[3], shift = 0;
  const int count = planes_of(levels, planes);
  for (int p = 0; p < count; ++p) {
    switch (planes[p]) {
      case 0: out = pack_plane<0>(codes, digits, shift, out); break;
      case 1: out = pack_plane<1>(codes, digits, shift, out); break;
      case 2: out = pack_plane<2>(codes, digits, shift, out); break;
      case 4: out = pack_plane<4>(codes, digits, shift, out); break;
      default: out = pack_plane<8>(codes, digits, shift, out); break;
    }
    shift += planes[p];
  }
}

void pack(const uint8_t* codes, int64_t rows, int64_t digits, int64_t levels, int64_t width, uint8_t* out) {
  for (int64_t i = 0; i < rows; ++i) pack_row(codes + i * digits, digits, static_cast<int>(levels), out + i * width);
}

void unpack(const uint8_t* packed, int64_t rows, int64_t digits, int64_t levels, int64_t width, uint8_t* out) {
  for (int64_t i = 0; i < rows; ++i) unpack_row(packed + i * width, digits, static_cast<int>(levels), out + i * digits);
}

struct Range {
  float low, high;
};

PINTSIZE_INLINE Range range_of(const float* x, int64_t count) {
  F8 low = all(x[0]), high = low;
  int64_t c = 0;
  for (; c + 8 <= count; c += 8) {
    const F8 v = load(x + c);
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  Range range{low[0], high[0]};
  for (int i = 1; i < 8; ++i) {
    range.low = low[i] < range.low ? low[i] : range.low;
    range.high = high[i] > range.high ? high[i] : range.high;
  }
  for (; c < count; ++c) {
    range.low = x[c] < range.low ? x[c] : range.low;
    range.high = x[c] > range.high ? x[c] : range.high;
  }
  return range;
}

PINTSIZE_INLINE bool finite_row(const float* x, int64_t count) {
  uint32_t bad = 0;
  for (int64_t c = 0; c < count; ++c) bad |= (bits_of(x[c]) & 0x7f800000u) == 0x7f800000u;
  return !bad;
}

// Sums with 1.5 * 2**23 hold the number, rounded to the nearest with ties to even, in their low bits.
constexpr float ROUNDING = 12582912.0f;

PINTSIZE_INLINE void codes_of(const float* __restrict x, int64_t count, float offset, float scale, float top,
                              uint8_t* __restrict codes) {
  for (int64_t c = 0; c < count; ++c) {
    float place = (x[c] - offset) / scale;
    place = place > 0.0f ? place : 0.0f;
    place = place < top ? place : top;
    codes[c] = static_cast<uint8_t>(bits_of(place + ROUNDING));
  }
}

bool overflows(uint16_t half) { return (half & 0x7c00u) == 0x7c00u; }

int64_t affine(const AffineCode& how, const float* values, int64_t rows, uint8_t* records, uint8_t* codes) {
  const int64_t groups = (how.columns + how.group - 1) / how.group;
  const float top = static_cast<float>(how.levels - 1);
  for (int64_t i = 0; i < rows; ++i) {
    const float* x = values + i * how.columns;
    uint8_t* record = records + i * how.record_bytes;
    uint8_t* scales = record + how.code_bytes;
    if (!finite_row(x, how.columns)) return 2 * i;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * how.group, left = how.columns - begin, count = left < how.group ? left : how.group;
      const Range range = range_of(x + begin, count);
      // Adding 0 makes a zero positive, whichever of the two the search met first.
      const uint16_t offset_bits = to_half(range.low / how.unit + 0.0f);
      const float offset = from_half(offset_bits) * how.unit;
      const uint16_t scale_bits = to_half((range.high - offset) / top / how.unit);
      if (overflows(offset_bits) || overflows(scale_bits)) return 2 * i + 1;
      const float scale = from_half(scale_bits) * how.unit;
      if (scale == 0.0f) std::memset(codes + begin, 0, static_cast<size_t>(count));
      else codes_of(x + begin, count, offset, scale, top, codes + begin);
      std::memcpy(scales + 2 * g, &scale_bits, 2);
      std::memcpy(scales + 2 * (groups + g), &offset_bits, 2);
    }
    pack_row(codes, how.columns, static_cast<int>(how.levels), record);
  }
  return -1;
}

void absmax(const float* values, int64_t rows, int64_t columns, float* out) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* x = values + i * columns;
    uint32_t largest = 0;
    for (int64_t c = 0; c < columns; ++c) {
      const uint32_t magnitude = bits_of(x[c]) & 0x7fffffffu;
      largest = magnitude > largest ? magnitude : largest;
    }
    out[i] = from_bits(largest);
  }
}

}  // namespace

PINTSIZE_TABLE(Encode, encode) {
  static const Encode table{pack, unpack, affine, absmax};
  return table;
}

}  // namespace pintsize
