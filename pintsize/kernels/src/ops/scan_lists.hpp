// Best lists of a scan: the float score of a byte row, and its place in a query's list.
#pragma once

#include <cmath>
#include <cstring>

#if defined(__F16C__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#include "ops/scan.hpp"

namespace pintsize {
namespace {

inline float half(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
#ifdef __F16C__
  return _cvtsh_ss(bits);
#else
  const uint32_t exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float value = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                      : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                       : std::ldexp(static_cast<float>(1024 + mantissa), static_cast<int>(exponent) - 25);
  return bits & 0x8000 ? -value : value;
#endif
}

// What turns a code c into a value: c * scale + offset.
struct Line {
  float scale, offset;
};

inline Line line_of(const ScanRows& rows, const uint8_t* record) {
  const float scale = half(record + rows.code_bytes) * rows.unit;
  return {scale, rows.has_offset ? half(record + rows.code_bytes + 2) * rows.unit : rows.bias * scale};
}

// Eight sums side by side, whatever the instruction set: the same bits from each.
inline float byte_score(const ScanRows& rows, const uint8_t* record, const float* query) {
  const Line line = line_of(rows, record);
  float sums[8] = {0};
  int64_t j = 0;
#ifdef __AVX2__
  const __m256 scale = _mm256_set1_ps(line.scale), offset = _mm256_set1_ps(line.offset);
  __m256 sum = _mm256_setzero_ps();
  for (; j + 8 <= rows.columns; j += 8) {
    const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(record + j));
    const __m256 value = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes)), scale), offset);
    sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_loadu_ps(query + j), value));
  }
  _mm256_storeu_ps(sums, sum);
#endif
  for (; j + 8 <= rows.columns; j += 8)
    for (int l = 0; l < 8; ++l) sums[l] += query[j + l] * (static_cast<float>(record[j + l]) * line.scale + line.offset);
  for (int l = 0; j < rows.columns; ++j, ++l)
    sums[l] += query[j] * (static_cast<float>(record[j]) * line.scale + line.offset);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

inline bool is_hidden(const ScanAsked& asked, int64_t query, int64_t row) {
  if (asked.allowed && !asked.allowed[row]) return true;
  int64_t low = asked.starts[query], high = asked.starts[query + 1];
  const int64_t end = high;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (asked.hidden[middle] < row) low = middle + 1;
    else high = middle;
  }
  return low < end && asked.hidden[low] == row;
}

// Equal scores stand in row order, in whatever order the rows come.
inline void offer_row(const ScanRows& rows, const ScanAsked& asked, int64_t query, int64_t row, const ScanLists& lists) {
  float* scores = lists.scores + query * asked.k;
  int64_t* found = lists.rows + query * asked.k;
  const float score = byte_score(rows, rows.records + row * rows.stride, asked.queries + query * rows.columns);
  const auto before = [&](int64_t place) {
    return scores[place] < score || (scores[place] == score && found[place] > row);
  };
  int64_t place = asked.k - 1;
  if (!before(place) || is_hidden(asked, query, row)) return;
  for (; place > 0 && before(place - 1); --place) {
    scores[place] = scores[place - 1];
    found[place] = found[place - 1];
  }
  scores[place] = score;
  found[place] = row;
}

}  // namespace
}  // namespace pintsize
