#include "ops/topk.hpp"

#include <cmath>

namespace pintsize {
namespace {

// Nearly every block of this many scores holds nothing above the list's last: its highest score says so at once.
constexpr int64_t block = 64;

float highest(const float* __restrict scores) {
  float most[16];
  for (int64_t l = 0; l < 16; ++l) most[l] = -HUGE_VALF;
  for (int64_t i = 0; i < block; i += 16)
    for (int64_t l = 0; l < 16; ++l) most[l] = scores[i + l] > most[l] ? scores[i + l] : most[l];
  for (int64_t half = 8; half > 0; half /= 2)
    for (int64_t l = 0; l < half; ++l) most[l] = most[l + half] > most[l] ? most[l + half] : most[l];
  return most[0];
}

void insert(float score, int64_t id, int64_t k, float* best, int64_t* ids) {
  int64_t place = k - 1;
  for (; place > 0 && best[place - 1] < score; --place) {
    best[place] = best[place - 1];
    ids[place] = ids[place - 1];
  }
  best[place] = score;
  ids[place] = id;
}

void merge(const float* scores, int64_t stride, int64_t columns, int64_t first, int64_t k, int64_t begin, int64_t end,
           float* best, int64_t* ids) {
  for (int64_t q = begin; q < end; ++q) {
    const float* row = scores + q * stride;
    float* top = best + q * k;
    int64_t* names = ids + q * k;
    const float* last = top + k - 1;
    for (int64_t start = 0; start < columns; start += block) {
      const int64_t stop = start + block < columns ? start + block : columns;
      if (stop - start == block && highest(row + start) <= *last) continue;
      for (int64_t i = start; i < stop; ++i)
        if (row[i] > *last) insert(row[i], first + i, k, top, names);
    }
  }
}

}  // namespace

PINTSIZE_TABLE(TopK, topk) {
  static const TopK table{merge};
  return table;
}

}  // namespace pintsize
