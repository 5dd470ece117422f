// Rows and bags of a ScalarTable.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct ScalarTable {
  const uint8_t* records;
  int64_t rows, stride, columns, levels, group;
  int64_t record_bytes, code_bytes, digits;  // digits: columns, and those of the place on the grid
  bool half_scales, offset;                  // float16 scales in the record, and offsets behind them
  float bias, unit;
  const float* grid;     // scales to choose from, or null
  const uint8_t* signs;  // a Walsh-Hadamard rotation to undo, or null
  int64_t rounds;
};

struct ScalarRows {
  // Bytes of scratch memory (aligned for floats) that the other two need.
  int64_t (*scratch)(const ScalarTable& table);
  // (count, columns) decoded rows.
  void (*gather)(const ScalarTable& table, const int64_t* rows, int64_t count, float* out, void* scratch);
  // Bags first..last of `bags` over `total` rows, each into its own row of (bags, columns) `out`.
  void (*bag)(const ScalarTable& table, const int64_t* rows, int64_t total, const int64_t* starts, int64_t bags,
              int64_t first, int64_t last, bool mean, const float* weights, float* out, void* scratch);
};

PINTSIZE_DECLARE(ScalarRows, scalar_rows)

}  // namespace pintsize
