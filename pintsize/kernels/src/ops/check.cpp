#include "ops/check.hpp"

#include <cstring>

namespace pintsize {
namespace {

int64_t outside(const int64_t* rows, int64_t count, int64_t limit) {
  constexpr int64_t block = 256;
  const uint64_t bound = static_cast<uint64_t>(limit);
  for (int64_t start = 0; start < count; start += block) {
    const int64_t end = start + block < count ? start + block : count;
    uint64_t bad = 0;
    for (int64_t i = start; i < end; ++i) bad |= static_cast<uint64_t>(rows[i]) >= bound;
    if (bad) {
      for (int64_t i = start; i < end; ++i)
        if (static_cast<uint64_t>(rows[i]) >= bound) return i;
    }
  }
  return -1;
}

bool rising(const int64_t* offsets, int64_t count, int64_t limit) {
  bool falls = false;
  for (int64_t i = 1; i < count; ++i) falls |= offsets[i] < offsets[i - 1];
  return !falls && offsets[0] == 0 && offsets[count - 1] <= limit;
}

int64_t nonfinite(const float* values, int64_t rows, int64_t columns) {
  constexpr uint32_t exponent = 0x7f800000u;
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = values + r * columns;
    uint32_t bad = 0;
    for (int64_t c = 0; c < columns; ++c) {
      uint32_t bits;
      std::memcpy(&bits, x + c, 4);
      bad |= (bits & exponent) == exponent;
    }
    if (bad) return r;
  }
  return -1;
}

}  // namespace

PINTSIZE_TABLE(Check, check) {
  static const Check table{outside, rising, nonfinite};
  return table;
}

}  // namespace pintsize
