// Queries of the byte scan, rounded to bytes for the product with rows.
//
// Where the processor adds products of bytes up in 32 bits (VNNI), the codes of a query take all of a signed byte, and of
// four neighbouring columns lie together. Elsewhere sums are of 16 bits and codes lie in pairs, as one multiply-add of
// bytes takes them: sums of a segment of columns never leave 16 bits, since queries are rounded coarsely enough for rows
// whose centred codes are at most `longest` long there, and longer rows are not judged by them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "ops/scan_lists.hpp"

namespace pintsize {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kVectors = 4;
constexpr int64_t kRows = kLanes * kVectors;  // rows of a block
constexpr int64_t kChunkColumns = 16;
#ifdef __AVX512VNNI__
constexpr bool kWide = true;  // sums of 32 bits
#else
constexpr bool kWide = false;
#endif
constexpr int64_t kTogether = kWide ? 4 : 2;  // columns
constexpr int64_t kGroups = kChunkColumns / kTogether;
constexpr int64_t kSegment = 4;    // chunks whose products are summed in 16 bits
constexpr int64_t kMostChunks = 64;
constexpr int kCenter = 128;
constexpr int kMostCode = kWide ? 127 : 64;  // two products of 255 and 64 fit 16 bits
constexpr float kSlack = 1e-5f;
constexpr float kNever = 1 << 30;  // no sum gets there

inline int64_t chunks_of(int64_t columns) { return (columns + kChunkColumns - 1) / kChunkColumns; }

// Lane of a row among sixteen: of 16-bit sums, rows 0-7 on even lanes, 8-15 on odd ones, which is how words of two vectors
// interleave.
inline int64_t lane_of(int64_t row) { return kWide ? row % kLanes : (row & 7) * 2 + (row >> 3 & 1); }

struct Work {
  int64_t bounds = 0;  // rows whose bounds were looked at one by one
  int64_t floats = 0;  // rows scored in float
};

// Queries rounded to multiples of a step over the first chunks of `order`.
class Rounded {
 public:
  Rounded(const ScanRows& rows, const ScanAsked& asked, const std::vector<int64_t>& order)
      : rows_(rows), asked_(asked), order_(order) {
    const int64_t n = asked.count;
    for (auto* v : {&step, &backward, &length, &sum, &error, &rest, &tiny}) v->assign(n, 0);
    limit.assign(n + 8, 0);
    backs.assign(n * ((static_cast<int64_t>(order.size()) + kSegment - 1) / kSegment), 0);
    groups.assign(n * order.size() * kGroups, 0);
  }

  int64_t chunks() const { return chunks_; }
  float longest() const { return longest_; }
  // A query's codes, a group of columns each: four bytes, or two bytes twice.
  const int32_t* codes(int64_t q) const { return groups.data() + q * chunks_ * kGroups; }

  void round(int64_t chunks, float longest) {
    chunks_ = chunks;
    longest_ = std::min(longest, 255.0f * std::sqrt(static_cast<float>(kSegment * kChunkColumns)));
    if (kWide) longest_ = HUGE_VALF;
    for (int64_t q = 0; q < asked_.count; ++q) round_one(q);
  }

  std::vector<float> step, backward;  // and 1 / step
  std::vector<float> length;          // of the rounded query
  std::vector<float> sum;             // of the query
  std::vector<float> error;           // length of the rounding errors in the chunks taken
  std::vector<float> rest;            // length of the query in the chunks left out
  std::vector<float> tiny;            // what float arithmetic may be off, a unit of a row's length
  std::vector<int32_t> limit;         // sums up to here cannot reach the list, in the block at hand
  // Minus the sums of the rounded query, a segment each.
  const int16_t* back(int64_t q) const { return backs.data() + q * segments(); }
  int64_t segments() const { return (chunks_ + kSegment - 1) / kSegment; }

 private:
  void round_one(int64_t q) {
    const float* query = asked_.queries + q * rows_.columns;
    float peak = 0;
    double inside = 0, outside = 0, total = 0, off = 0, densest = 0, here = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(order_.size()); ++i) {
      if (i % kSegment == 0) here = 0;
      for (int64_t j = order_[i] * kChunkColumns; j < std::min(rows_.columns, (order_[i] + 1) * kChunkColumns); ++j) {
        const double value = query[j];
        total += value;
        (i < chunks_ ? inside : outside) += value * value;
        if (i >= chunks_) continue;
        here += value * value;
        peak = std::max(peak, std::fabs(query[j]));
      }
      densest = std::max(densest, here);
    }
    // In a segment |rounded| <= |query| / step + sqrt(columns) / 2, and that times `longest` is to fit 16 bits.
    const double room = kWide ? 1 : 32700.0 / longest_ - 0.5 * std::sqrt(static_cast<double>(kSegment * kChunkColumns));
    double width = peak / kMostCode;
    if (!kWide) width = std::max(width, std::sqrt(densest) / std::max(room, 1e-3));
    if (!(width > 1e-30)) width = 1e-30;
    step[q] = static_cast<float>(width);
    backward[q] = 1 / step[q];
    int64_t squares = 0;
    int16_t* backs_here = backs.data() + q * segments();
    std::fill_n(backs_here, segments(), 0);
    int32_t* out = groups.data() + q * chunks_ * kGroups;
    for (int64_t i = 0; i < chunks_; ++i)
      for (int64_t p = 0; p < kGroups; ++p) {
        int code[kTogether];
        for (int64_t b = 0; b < kTogether; ++b) {
          const int64_t j = order_[i] * kChunkColumns + kTogether * p + b;
          const float value = j < rows_.columns ? query[j] : 0;
          code[b] = room > 1e-3 ? static_cast<int>(std::lrint(value / step[q])) : 0;
          code[b] = std::clamp(code[b], -kMostCode, kMostCode);
          const double left = static_cast<double>(value) - static_cast<double>(step[q]) * code[b];
          off += left * left;
          backs_here[i / kSegment] = static_cast<int16_t>(backs_here[i / kSegment] - code[b]);
          squares += code[b] * code[b];
        }
        uint32_t together = 0;
        for (int64_t b = 0; b < 4; ++b) together |= static_cast<uint32_t>(static_cast<uint8_t>(code[b % kTogether])) << 8 * b;
        out[i * kGroups + p] = static_cast<int32_t>(together);
      }
    length[q] = std::sqrt(static_cast<float>(squares)) * (1 + kSlack);
    sum[q] = static_cast<float>(total);
    error[q] = static_cast<float>(std::sqrt(off) * (1 + 1e-6));
    rest[q] = static_cast<float>(std::sqrt(outside) * (1 + 1e-6));
    tiny[q] = static_cast<float>(std::sqrt(inside + outside) * (4e-6 + 2e-8 * static_cast<double>(rows_.columns)));
  }

  const ScanRows& rows_;
  const ScanAsked& asked_;
  const std::vector<int64_t>& order_;
  std::vector<int32_t> groups;
  std::vector<int16_t> backs;
  int64_t chunks_ = 0;
  float longest_ = 1;
};

}  // namespace
}  // namespace pintsize
