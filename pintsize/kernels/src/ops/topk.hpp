// The best few of each row of a block of scores, merged into the best so far.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct TopK {
  // Scores (queries x columns, rows `stride` floats apart) of the rows first, first + 1, ... of a table, for the
  // queries [begin, end). `best` and `ids` (queries x k) hold the lists so far, best first; an empty place is -inf
  // with id -1. Equal scores keep the row that was offered first; NaN and -inf are never taken.
  void (*merge)(const float* scores, int64_t stride, int64_t columns, int64_t first, int64_t k, int64_t begin,
                int64_t end, float* best, int64_t* ids);
};

PINTSIZE_DECLARE(TopK, topk)

}  // namespace pintsize
