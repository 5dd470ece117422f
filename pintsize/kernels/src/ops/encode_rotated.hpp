// Rows, rotated or not, as symmetric codes with one float16 scale: methods/_step_search.py, operation by operation.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct SymmetricCode {
  int64_t columns;
  int bits;                // 1..8
  float inverse_unit;      // a power of two
  float limit;             // largest |x| * inverse_unit that is encoded
  const uint8_t* signs;    // (rounds, ceil(columns / 8)): a Hadamard rotation, or null
  int64_t rounds;
  const float* dense;      // (columns, columns): a dense rotation, or null
  float gaussian_step;     // step of a row of variance 1, where no steps are given
  const float* steps;      // steps to try, in multiples of the row's largest value
  int64_t step_count;
  bool unbiased;           // with one bit
};

struct EncodeRotated {
  // Writes `count` records; returns the first row of a block that does not fit float16 in this unit, or -1.
  int64_t (*encode)(const SymmetricCode& code, const float* rows, int64_t count, uint8_t* out);
};

PINTSIZE_DECLARE(EncodeRotated, encode_rotated)

}  // namespace pintsize
