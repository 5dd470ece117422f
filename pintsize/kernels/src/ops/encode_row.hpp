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

// The least and the largest of a row's values; there is at least one.
inline Range range_of(const float* row, int64_t columns) {
  Range range{row[0], row[0]};
  int64_t c = 0;
  if (columns >= 16) {
    Floats16 low = load16(row), high = low;
    for (c = 16; c + 16 <= columns; c += 16) {
      const Floats16 v = load16(row + c);
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    for (int l = 0; l < 16; ++l) {
      range.low = low[l] < range.low ? low[l] : range.low;
      range.high = high[l] > range.high ? high[l] : range.high;
    }
  }
  for (; c < columns; ++c) {
    range.low = row[c] < range.low ? row[c] : range.low;
    range.high = row[c] > range.high ? row[c] : range.high;
  }
  return range;
}

// min(max(rint((x - offset) / scale), 0), top) of each value times `unit`, a byte each; 0 where the scale is 0.
inline void code_row(const float* row, int64_t columns, float unit, float scale, float offset, float top, uint8_t* out) {
  if (scale == 0.0f) {
    std::memset(out, 0, static_cast<size_t>(columns));
    return;
  }
  const Floats16 zero{};
  const Floats16 highest = zero + top;
  int64_t c = 0;
  for (; c + 16 <= columns; c += 16) {
    Floats16 code = (load16(row + c) * unit - offset) / scale;
    code = code > zero ? code : zero;
    code = code < highest ? code : highest;
    const Ints16 whole = __builtin_convertvector((code + 8388608.0f) - 8388608.0f, Ints16);
    const Bytes16 bytes = __builtin_convertvector(whole, Bytes16);
    std::memcpy(out + c, &bytes, sizeof bytes);
  }
  for (; c < columns; ++c) {
    float code = (row[c] * unit - offset) / scale;
    code = code > 0.0f ? code : 0.0f;
    code = code < top ? code : top;
    out[c] = static_cast<uint8_t>((code + 8388608.0f) - 8388608.0f);
  }
}

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
