// Narrow rows times a small matrix.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct Product {
  // (count, inner) `left` times (inner, columns) `right` to (count, columns) `out`; sums run over `inner` in order.
  void (*multiply)(const float* left, int64_t count, int64_t inner, const float* right, int64_t columns, float* out);
};

PINTSIZE_DECLARE(Product, product)

}  // namespace pintsize
