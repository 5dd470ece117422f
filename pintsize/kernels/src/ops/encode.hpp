// Floats to codes, and codes to bytes.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct AffineCode {
  int64_t columns, group, levels;
  float unit;
  int64_t code_bytes, record_bytes;
};

struct Encode {
  // (rows, digits) codes to (rows, width) bytes as formats/_packing.py lays them, and back.
  void (*pack)(const uint8_t* codes, int64_t rows, int64_t digits, int64_t levels, int64_t width, uint8_t* out);
  void (*unpack)(const uint8_t* packed, int64_t rows, int64_t digits, int64_t levels, int64_t width, uint8_t* out);
  // Records of (rows, columns) floats, between each group's least and largest value. Returns -1, or 2 * row for the first
  // row that holds NaN or infinity, or 2 * row + 1 for one whose scale or offset float16 cannot hold. `codes`: `columns`
  // bytes of scratch.
  int64_t (*affine)(const AffineCode& how, const float* values, int64_t rows, uint8_t* records, uint8_t* codes);
  // The largest magnitude of each row.
  void (*absmax)(const float* values, int64_t rows, int64_t columns, float* out);
};

PINTSIZE_DECLARE(Encode, encode)

}  // namespace pintsize
