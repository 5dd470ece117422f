// Which part a row of a PartitionedTable belongs to, and its place there.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct PartitionMap {
  const uint8_t* part;
  int64_t rows, parts;
  const uint8_t* before;  // (ceil(rows / 256), parts) counts
  bool wide;              // of int64, or int32
  const int64_t* sizes;   // rows of each part
};

struct Partition {
  // 0, or 1 where a row belongs to no part, or 2 where its place is outside its part.
  int (*locate)(const PartitionMap& map, const int64_t* rows, int64_t count, uint8_t* part, int64_t* place);
  // Sorts by part, keeping the order within each: `begins` (parts + 1), and for each sorted row where it stood and its
  // place in its part.
  void (*group)(const uint8_t* part, const int64_t* place, int64_t count, int64_t parts, int64_t* begins, int64_t* stood,
                int64_t* sorted);
};

PINTSIZE_DECLARE(Partition, partition)

}  // namespace pintsize
