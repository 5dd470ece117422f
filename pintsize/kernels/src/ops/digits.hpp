// Codes out of bytes, as formats/_packing.py lays them: digits of 1, 2, 4, 8 bits, or 0 for the ternary digit.
#pragma once

#include "ops/lanes.hpp"

namespace pintsize {
namespace {

constexpr int64_t BLOCK = 16;

template <int BITS>
constexpr int64_t PER_BYTE = BITS ? 8 / (BITS ? BITS : 1) : 5;

PINTSIZE_INLINE int64_t per_byte(int bits) { return bits ? 8 / bits : 5; }

// The widths of a code's digits, low bits first; how many there are.
PINTSIZE_INLINE int planes_of(int levels, int (&bits)[3]) {
  switch (levels) {
    case 3: bits[0] = 0; return 1;
    case 8: bits[0] = 2, bits[1] = 1; return 2;
    case 32: bits[0] = 4, bits[1] = 1; return 2;
    case 64: bits[0] = 4, bits[1] = 2; return 2;
    case 128: bits[0] = 4, bits[1] = 2, bits[2] = 1; return 3;
    default: bits[0] = __builtin_ctz(static_cast<unsigned>(levels)); return 1;
  }
}

// What a row's codes mean: value(q) = q * scale + offset, or (q + bias) * scale.
template <bool OFFSET>
struct Affine {
  float scale, shift;
  template <class T>
  PINTSIZE_INLINE auto operator()(T q) const {
    if constexpr (OFFSET) return q * scale + shift;
    else return (q + shift) * scale;
  }
};

// Codes of at most two bits are looked up in a register, codes of more are computed; the results are the same.
template <int BITS, bool OFFSET>
struct Values {
  Affine<OFFSET> affine;
#ifdef PINTSIZE_AVX2
  static constexpr bool TABLE = BITS <= 2;
  F8 table;
  PINTSIZE_INLINE explicit Values(Affine<OFFSET> a) : affine(a) {
    if constexpr (BITS == 1) table = a(F8{0, 1, 0, 1, 0, 1, 0, 1});
    else if constexpr (TABLE) table = a(F8{0, 1, 2, 3, 0, 1, 2, 3});
  }
#else
  static constexpr bool TABLE = false;
  PINTSIZE_INLINE explicit Values(Affine<OFFSET> a) : affine(a) {}
#endif
  // The value of the digit in the low bits of each lane; higher bits may hold others.
  PINTSIZE_INLINE F8 operator()(I8 x) const {
#ifdef PINTSIZE_AVX2
    if constexpr (TABLE) return (F8)_mm256_permutevar_ps((__m256)table, (__m256i)x);
#endif
    if constexpr (BITS == 1 || BITS == 2 || BITS == 4) x &= (1 << BITS) - 1;
    return affine(to_floats(x));
  }
};

// All digits of the 8 * N bytes at p: digit g of byte j goes to out[g * stride + j].
template <int BITS, int N, class Value, class Sink>
PINTSIZE_INLINE void spread(const uint8_t* p, float* out, int64_t stride, const Value& value, const Sink& sink) {
  I8 x[N];
  for (int h = 0; h < N; ++h) x[h] = widen(p + 8 * h);
#pragma GCC unroll 8
  for (int64_t g = 0; g < PER_BYTE<BITS>; ++g) {
    for (int h = 0; h < N; ++h) {
      if constexpr (BITS == 0) {
        const I8 thrice = x[h] + x[h] + x[h];
        sink(out + g * stride + 8 * h, value(thrice >> 8));
        x[h] = thrice & 255;
      } else {
        sink(out + g * stride + 8 * h, value(x[h] >> static_cast<int>(g * BITS)));
      }
    }
  }
}

// The values of the first `columns` of a row's `digits` codes. `end` is where the table ends: bytes past a record are
// read (and not used) only while they lie before it.
template <int BITS, class Value, class Sink>
PINTSIZE_INLINE void decode(const uint8_t* codes, const uint8_t* end, int64_t digits, int64_t columns, float* out,
                            const Value& value, const Sink& sink) {
  constexpr int64_t wide = BLOCK * PER_BYTE<BITS>;
  int64_t left = columns;
  for (; left >= wide; left -= wide, digits -= wide, codes += BLOCK, out += wide)
    spread<BITS, 2>(codes, out, BLOCK, value, sink);
  if (left == 0) return;
  const int64_t width = digits >= wide ? BLOCK : (digits + PER_BYTE<BITS> - 1) / PER_BYTE<BITS>;
  uint8_t copy[BLOCK];
  if (__builtin_expect(codes + BLOCK > end, 0)) {
    std::memset(copy, 0, sizeof copy);
    std::memcpy(copy, codes, static_cast<size_t>(width));
    codes = copy;
  }
  if (width == 8 && left == 8 * PER_BYTE<BITS>) {
    spread<BITS, 1>(codes, out, 8, value, sink);
    return;
  }
  float line[wide + BLOCK];
  if (width <= 8) spread<BITS, 1>(codes, line, width, value, Put{});
  else spread<BITS, 2>(codes, line, width, value, Put{});
  pour(line, left, out, sink);
}

// One digit of a plane of `digits` of them.
PINTSIZE_INLINE int64_t digit_at(const uint8_t* plane, int bits, int64_t digits, int64_t index) {
  const int64_t wide = BLOCK * per_byte(bits), block = index / wide, inside = index % wide;
  const int64_t rest = digits - block * wide;
  const int64_t width = rest >= wide ? BLOCK : (rest + per_byte(bits) - 1) / per_byte(bits);
  unsigned byte = plane[block * BLOCK + inside % width];
  const int64_t g = inside / width;
  if (bits) return (byte >> (g * bits)) & ((1u << bits) - 1u);
  for (int64_t k = 0; k < g; ++k) byte = byte * 3 & 255u;
  return byte * 3 >> 8;
}

// One plane's digits, shifted left and joined to what `codes` holds.
template <int BITS>
PINTSIZE_INLINE void unpack_plane(const uint8_t* plane, int64_t digits, int shift, bool join, uint8_t* codes) {
  constexpr int64_t wide = BLOCK * PER_BYTE<BITS>;
  for (int64_t done = 0; done < digits; done += wide) {
    const int64_t rest = digits - done < wide ? digits - done : wide;
    const int64_t width = (rest + PER_BYTE<BITS> - 1) / PER_BYTE<BITS>;
    uint8_t bytes[BLOCK], line[wide];
    std::memset(bytes, 0, sizeof bytes);
    std::memcpy(bytes, plane + done / PER_BYTE<BITS>, static_cast<size_t>(width));
    for (int64_t g = 0; g < PER_BYTE<BITS>; ++g) {
      for (int64_t j = 0; j < BLOCK; ++j) {
        if constexpr (BITS == 0) {
          line[g * BLOCK + j] = static_cast<uint8_t>(bytes[j] * 3 >> 8);
          bytes[j] = static_cast<uint8_t>(bytes[j] * 3);
        } else {
          line[g * BLOCK + j] = static_cast<uint8_t>(((bytes[j] >> (g * BITS)) & ((1 << BITS) - 1)) << shift);
        }
      }
    }
    for (int64_t g = 0; g * width < rest; ++g) {
      const int64_t count = rest - g * width < width ? rest - g * width : width;
      uint8_t* to = codes + done + g * width;
      if (join) {
        for (int64_t j = 0; j < count; ++j) to[j] |= line[g * BLOCK + j];
      } else {
        for (int64_t j = 0; j < count; ++j) to[j] = line[g * BLOCK + j];
      }
    }
  }
}

// All codes of a row.
PINTSIZE_INLINE void unpack_row(const uint8_t* packed, int64_t digits, int levels, uint8_t* codes) {
  int planes[3], shift = 0;
  const int count = planes_of(levels, planes);
  for (int p = 0; p < count; ++p) {
    const bool join = p > 0;
    switch (planes[p]) {
      case 0: unpack_plane<0>(packed, digits, shift, join, codes); break;
      case 1: unpack_plane<1>(packed, digits, shift, join, codes); break;
      case 2: unpack_plane<2>(packed, digits, shift, join, codes); break;
      case 4: unpack_plane<4>(packed, digits, shift, join, codes); break;
      default: unpack_plane<8>(packed, digits, shift, join, codes); break;
    }
    packed += (digits + per_byte(planes[p]) - 1) / per_byte(planes[p]);
    shift += planes[p];
  }
}

}  // namespace
}  // namespace pintsize
