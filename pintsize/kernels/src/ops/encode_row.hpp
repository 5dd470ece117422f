// A row's columns side by side: what encoders do whose sums need no order. Compiled anew for each level.
#pragma once

#include <cstdint>
#include <cstring>

namespace pintsize {
namespace {

typedef float Floats16 __attribute__((vector_size(64)));
typedef int32_t Ints16 __attribute__((vector_size(64)));
typedef uint8_t Bytes16 __attribute__((vector_size(16)));

inline Floats16 load16(const float* p) {
  Floats16 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

struct Range {
  float low, high;
};

// Folded in halves: a chain over the lanes would take longer than the row.
template <class Better>
inline float folded(Floats16 v, Better better) {
  typedef float Eight __attribute__((vector_size(32)));
  typedef float Four __attribute__((vector_size(16)));
  const Eight e = better(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),
                         __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
  Four f = better(__builtin_shufflevector(e, e, 0, 1, 2, 3), __builtin_shufflevector(e, e, 4, 5, 6, 7));
  f = better(f, __builtin_shufflevector(f, f, 2, 3, 0, 1));
  f = better(f, __builtin_shufflevector(f, f, 1, 0, 3, 2));
  return f[0];
}

// The least and the largest of a row's values; there is at least one. The row `ahead` values on is fetched meanwhile.
inline Range range_of(const float* row, int64_t columns, int64_t ahead) {
  Range range{row[0], row[0]};
  int64_t c = 0;
  if (columns >= 16) {
    Floats16 low = load16(row), high = low;
    __builtin_prefetch(row + ahead);
    for (c = 16; c + 16 <= columns; c += 16) {
      const Floats16 v = load16(row + c);
      __builtin_prefetch(row + c + ahead);
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    range.low = folded(low, [](auto a, auto b) { return a < b ? a : b; });
    range.high = folded(high, [](auto a, auto b) { return a > b ? a : b; });
  }
  for (; c < columns; ++c) {
    range.low = row[c] < range.low ? row[c] : range.low;
    range.high = row[c] > range.high ? row[c] : range.high;
  }
  return range;
}

// ``min(max(rint((x - offset) / scale), 0), top)`` of values times `unit`; 0 where the scale is 0.
struct RowCoder {
  float unit, scale, offset, top;

  Ints16 sixteen(const float* row) const {
    const Floats16 zero{}, highest = zero + top;
    Floats16 code = (load16(row) * unit - offset) / scale;
    code = code > zero ? code : zero;
    code = code < highest ? code : highest;
    return __builtin_convertvector((code + 8388608.0f) - 8388608.0f, Ints16);
  }
  uint8_t one(float value) const {
    float code = (value * unit - offset) / scale;
    code = code > 0.0f ? code : 0.0f;
    code = code < top ? code : top;
    return static_cast<uint8_t>((code + 8388608.0f) - 8388608.0f);
  }
  // A byte a column.
  void bytes(const float* row, int64_t columns, uint8_t* out) const {
    if (scale == 0.0f) {
      std::memset(out, 0, static_cast<size_t>(columns));
      return;
    }
    int64_t c = 0;
    for (; c + 16 <= columns; c += 16) {
      const Bytes16 codes = __builtin_convertvector(sixteen(row + c), Bytes16);
      std::memcpy(out + c, &codes, sizeof codes);
    }
    for (; c < columns; ++c) out[c] = one(row[c]);
  }
  // Whole blocks of formats/_packing.py with digits of so many bits; returns the columns that they hold.
  template <int kBits>
  int64_t blocks(const float* row, int64_t columns, uint8_t* out) const {
    constexpr int kPerByte = 8 / kBits;
    int64_t c = 0;
    for (; c + 16 * kPerByte <= columns; c += 16 * kPerByte, out += 16) {
      Ints16 packed{};
      if (scale != 0.0f)
        for (int g = 0; g < kPerByte; ++g) packed |= sixteen(row + c + 16 * g) << (g * kBits);
      const Bytes16 narrow = __builtin_convertvector(packed, Bytes16);
      std::memcpy(out, &narrow, sizeof narrow);
    }
    return c;
  }
};

// The codes of a row, a byte each and below 2**bits, in the layout of formats/_packing.py.
inline void pack_row(const uint8_t* codes, int64_t columns, int bits, uint8_t* out) {
  int shift = 0;
  for (int digit = 8; digit >= 1; digit >>= 1) {  // wider planes hold the lower bits
    if (!(bits & digit)) continue;
    const int64_t per_byte = 8 / digit, in_block = 16 * per_byte;
    const uint8_t mask = static_cast<uint8_t>((1 << digit) - 1);
    int64_t first = 0;
    for (; first + in_block <= columns; first += in_block, out += 16) {
      Bytes16 packed{};
      for (int64_t g = 0; g < per_byte; ++g) {
        Bytes16 part;
        std::memcpy(&part, codes + first + 16 * g, sizeof part);
        packed |= ((part >> shift) & mask) << (g * digit);
      }
      std::memcpy(out, &packed, sizeof packed);
    }
    const int64_t left = columns - first, width = (left + per_byte - 1) / per_byte;
    for (int64_t j = 0; j < width; ++j) {
      int byte = 0;
      for (int64_t g = 0, c = j; c < left; ++g, c += width) byte |= ((codes[first + c] >> shift) & mask) << (g * digit);
      *out++ = static_cast<uint8_t>(byte);
    }
    shift += digit;
  }
}

}  // namespace
}  // namespace pintsize
