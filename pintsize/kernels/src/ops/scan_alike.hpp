// Rows of a stretch put in order of their scales: bounds of a block are good where its rows are alike.
#pragma once

#include <algorithm>
#include <cstring>

#include "ops/scan.hpp"

namespace pintsize {
namespace {

constexpr int64_t kAlike = 2048;  // rows of a stretch

// `chosen` gets the rows first, first + 1, ..., at most kAlike of them, by falling scale, roughly.
inline void alike(const ScanRows& rows, int64_t first, int64_t count, int64_t* chosen) {
  constexpr int64_t most = 255;
  uint16_t keys[kAlike];
  int64_t starts[most + 2] = {0}, low = 0xffff, high = 0;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(keys + i, rows.records + (first + i) * rows.stride + rows.code_bytes, 2);
    keys[i] &= 0x7fff;
    low = std::min<int64_t>(low, keys[i]);
    high = std::max<int64_t>(high, keys[i]);
  }
  int shift = 0;
  while ((high - low) >> shift > most - 1) ++shift;
  for (int64_t i = 0; i < count; ++i) ++starts[((high - keys[i]) >> shift) + 1];
  for (int64_t b = 0; b < most; ++b) starts[b + 1] += starts[b];
  for (int64_t i = 0; i < count; ++i) chosen[starts[(high - keys[i]) >> shift]++] = first + i;
}

}  // namespace
}  // namespace pintsize
