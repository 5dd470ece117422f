// Rows and bags of a DenseTable, and of decoded blocks.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

enum class Floats : int64_t { float32 = 0, float16 = 1, bfloat16 = 2 };

struct DenseTable {
  const uint8_t* values;
  int64_t stride, columns;
  Floats kind;
};

struct DenseRows {
  void (*gather)(const DenseTable& table, const int64_t* rows, int64_t count, float* out);
  // Bags first..last of `bags` over `total` rows; without `rows`, over the table's own rows in order.
  void (*bag)(const DenseTable& table, const int64_t* rows, int64_t total, const int64_t* starts, int64_t bags,
              int64_t first, int64_t last, bool mean, const float* weights, float* out);
  // Row i of (count, columns) `from` to row places[i] of `out`.
  void (*scatter)(const float* from, int64_t columns, const int64_t* places, int64_t count, float* out);
};

PINTSIZE_DECLARE(DenseRows, dense_rows)

}  // namespace pintsize
