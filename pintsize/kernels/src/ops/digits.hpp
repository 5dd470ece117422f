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

#ifdef PINTSIZE_AVX2

// Codes of at most two bits are looked up in a register, codes of more are computed; the results are the same.
template <int BITS, bool OFFSET>
struct Values {
  static constexpr bool TABLE = BITS <= 2;
  Affine<OFFSET> affine;
  F8 table{};
  PINTSIZE_INLINE explicit Values(Affine<OFFSET> a) : affine(a) {
    if constexpr (BITS == 1) table = a(F8{0, 1, 0, 1, 0, 1, 0, 1});
    else if constexpr (TABLE) table = a(F8{0, 1, 2, 3, 0, 1, 2, 3});
  }
  // The value of the digit in the low bits of each lane; higher bits may hold others.
  PINTSIZE_INLINE F8 operator()(I8 x) const {
    if constexpr (TABLE) return (F8)_mm256_permutevar_ps((__m256)table, (__m256i)x);
    else if constexpr (BITS == 4) return affine(to_floats(x & 15));
    else return affine(to_floats(x));
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
  // By 64 columns where a block holds fewer: see each_column.
  constexpr int64_t many = wide < 64 ? 64 : wide;
  for (; left >= many; left -= many, digits -= many, codes += many / PER_BYTE<BITS>, out += many) {
#pragma GCC unroll 4
    for (int64_t b = 0; b < many / wide; ++b) spread<BITS, 2>(codes + b * BLOCK, out + b * wide, BLOCK, value, sink);
  }
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

#endif

typedef uint8_t B16 __attribute__((vector_size(16)));

PINTSIZE_INLINE B16 load16(const uint8_t* p) {
  B16 v;
  std::memcpy(&v, p, 16);
  return v;
}

// The digits of 16 bytes, shifted left: use(g, digits g of all bytes).
template <int BITS, class Use>
PINTSIZE_INLINE void each_digit(B16 bytes, int shift, const Use& use) {
#pragma GCC unroll 8
  for (int g = 0; g < PER_BYTE<BITS>; ++g) {
    if constexpr (BITS == 0) {
      // Three times a byte, divided by 256, and what is left.
      use(g, (B16)(bytes >= 86 ? B16{} + 1 : B16{}) + (B16)(bytes >= 171 ? B16{} + 1 : B16{}));
      bytes = bytes + bytes + bytes;
    } else {
      use(g, ((bytes >> (g * BITS)) & static_cast<uint8_t>((1 << BITS) - 1)) << shift);
    }
  }
}

// One plane's digits, shifted left and, with JOIN, added to what `codes` holds.
template <int BITS, bool JOIN>
PINTSIZE_INLINE void unpack_plane(const uint8_t* plane, int64_t digits, int shift, uint8_t* codes) {
  constexpr int64_t wide = BLOCK * PER_BYTE<BITS>;
  for (; digits >= wide; digits -= wide, plane += BLOCK, codes += wide) {
    each_digit<BITS>(load16(plane), shift, [&](int g, B16 v) {
      if (JOIN) v |= load16(codes + g * BLOCK);
      std::memcpy(codes + g * BLOCK, &v, 16);
    });
  }
  if (digits == 0) return;
  const int64_t width = (digits + PER_BYTE<BITS> - 1) / PER_BYTE<BITS>;
  uint8_t bytes[BLOCK] = {}, line[wide + BLOCK];
  for (int64_t j = 0; j < width; ++j) bytes[j] = plane[j];
  // Each store of 16 digits runs over the next ones, which come after it.
  each_digit<BITS>(load16(bytes), shift, [&](int g, B16 v) { std::memcpy(line + g * width, &v, 16); });
  for (int64_t j = 0; j < digits; ++j) codes[j] = static_cast<uint8_t>(JOIN ? codes[j] | line[j] : line[j]);
}

template <bool JOIN>
PINTSIZE_INLINE void unpack_any_plane(int bits, const uint8_t* plane, int64_t digits, int shift, uint8_t* codes) {
  switch (bits) {
    case 0: return unpack_plane<0, JOIN>(plane, digits, shift, codes);
    case 1: return unpack_plane<1, JOIN>(plane, digits, shift, codes);
    case 2: return unpack_plane<2, JOIN>(plane, digits, shift, codes);
    case 4: return unpack_plane<4, JOIN>(plane, digits, shift, codes);
    default: return unpack_plane<8, JOIN>(plane, digits, shift, codes);
  }
}

// All codes of a row.
PINTSIZE_INLINE void unpack_row(const uint8_t* packed, int64_t digits, int levels, uint8_t* codes) {
  int planes[3], shift = 0;
  const int count = planes_of(levels, planes);
  for (int p = 0; p < count; ++p) {
    if (p == 0) unpack_any_plane<false>(planes[p], packed, digits, shift, codes);
    else unpack_any_plane<true>(planes[p], packed, digits, shift, codes);
    packed += (digits + per_byte(planes[p]) - 1) / per_byte(planes[p]);
    shift += planes[p];
  }
}

}  // namespace
}  // namespace pintsize
