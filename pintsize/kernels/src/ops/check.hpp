// Looking for what may not be there: rows out of range, values that are not finite.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct Check {
  // Position of the first of `count` rows outside [0, limit), or -1.
  int64_t (*outside)(const int64_t* rows, int64_t count, int64_t limit);
  // Whether `count` (at least 1) offsets start at 0, never fall, and end at most at `limit`.
  bool (*rising)(const int64_t* offsets, int64_t count, int64_t limit);
  // First row of a (rows x columns) matrix that holds NaN or infinity, or -1.
  int64_t (*nonfinite)(const float* values, int64_t rows, int64_t columns);
};

PINTSIZE_DECLARE(Check, check)

}  // namespace pintsize
