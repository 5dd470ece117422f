// Signs and Walsh-Hadamard transforms: the rotations of formats/_rotation.py, bit for bit.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct Rotate {
  // (rounds, ceil(columns / 8)) packed sign bits, low bit first, as (rounds, columns) floats of -1 and 1.
  void (*signs)(const uint8_t* packed, int64_t rounds, int64_t columns, float* out);
  // (count, columns) rows, in place.
  void (*forward)(float* rows, int64_t count, int64_t columns, const float* signs, int64_t rounds);
  void (*back)(float* rows, int64_t count, int64_t columns, const float* signs, int64_t rounds);
};

PINTSIZE_DECLARE(Rotate, rotate)

}  // namespace pintsize
