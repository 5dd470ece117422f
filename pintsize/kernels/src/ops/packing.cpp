#include "ops/packing.hpp"

#include "ops/digits.hpp"

namespace pintsize {
namespace {

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

}  // namespace

PINTSIZE_TABLE(Packing, packing) {
  static const Packing table{pack, unpack};
  return table;
}

}  // namespace pintsize
