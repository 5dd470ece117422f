// Rows as integers with a float16 scale and offset a group, the range narrowed by a greedy search: methods/integer.py.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct ClippedCode {
  int64_t columns, group;
  int bits;            // 1..8
  float inverse_unit;  // a power of two
  float limit;         // largest |x| * inverse_unit that is encoded
  int64_t bins;        // steps in the whole range
  int64_t rounds;      // steps taken from it at most; 0: the whole range is kept
};

struct EncodeClipped {
  // Writes `count` records; returns the first row of a block that does not fit float16 in this unit, or -1.
  int64_t (*encode)(const ClippedCode& code, const float* rows, int64_t count, uint8_t* out);
};

PINTSIZE_DECLARE(EncodeClipped, encode_clipped)

}  // namespace pintsize
