#include "ops/product.hpp"

#include <cstring>

#include "ops/lanes.hpp"

namespace pintsize {
namespace {

typedef float F16 __attribute__((vector_size(64)));
typedef float Loose16 __attribute__((vector_size(64), aligned(4), may_alias));  // copies of arrays would stay in memory

constexpr int64_t LANES = 16;
#ifdef __AVX512F__
constexpr int64_t HEIGHT = 4;  // rows of a tile: as many sums as hide the latency of an addition and fit registers
#else
constexpr int64_t HEIGHT = 2;
#endif

template <int64_t ROWS, int64_t VECTORS>
PINTSIZE_INLINE void tile(const float* left, int64_t inner, const float* right, int64_t columns, float* out) {
  F16 sums[ROWS][VECTORS] = {};
  for (int64_t k = 0; k < inner; ++k) {
    const Loose16* line = reinterpret_cast<const Loose16*>(right + k * columns);
    F16 basis[VECTORS];
    for (int64_t v = 0; v < VECTORS; ++v) basis[v] = line[v];
    for (int64_t r = 0; r < ROWS; ++r)
      for (int64_t v = 0; v < VECTORS; ++v) sums[r][v] += left[r * inner + k] * basis[v];
  }
  for (int64_t r = 0; r < ROWS; ++r) {
    Loose16* line = reinterpret_cast<Loose16*>(out + r * columns);
    for (int64_t v = 0; v < VECTORS; ++v) line[v] = sums[r][v];
  }
}

// The last columns, fewer than a register has.
PINTSIZE_INLINE void rest(const float* left, int64_t inner, const float* right, int64_t columns, int64_t width,
                          float* out) {
  float sums[LANES] = {};
  for (int64_t k = 0; k < inner; ++k)
    for (int64_t c = 0; c < width; ++c) sums[c] += left[k] * right[k * columns + c];
  std::memcpy(out, sums, sizeof(float) * static_cast<size_t>(width));
}

template <int64_t ROWS>
PINTSIZE_INLINE void some_rows(const float* left, int64_t inner, const float* right, int64_t columns, float* out) {
  int64_t c = 0;
  for (; c + 2 * LANES <= columns; c += 2 * LANES) tile<ROWS, 2>(left, inner, right + c, columns, out + c);
  if (c + LANES <= columns) {
    tile<ROWS, 1>(left, inner, right + c, columns, out + c);
    c += LANES;
  }
  if (c == columns) return;
  for (int64_t r = 0; r < ROWS; ++r)
    rest(left + r * inner, inner, right + c, columns, columns - c, out + r * columns + c);
}

void multiply(const float* left, int64_t count, int64_t inner, const float* right, int64_t columns, float* out) {
  int64_t i = 0;
  for (; i + HEIGHT <= count; i += HEIGHT)
    some_rows<HEIGHT>(left + i * inner, inner, right, columns, out + i * columns);
  for (; i < count; ++i) some_rows<1>(left + i * inner, inner, right, columns, out + i * columns);
}

}  // namespace

PINTSIZE_TABLE(Product, product) {
  static const Product table{multiply};
  return table;
}

}  // namespace pintsize
