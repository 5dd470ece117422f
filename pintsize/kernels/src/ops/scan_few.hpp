// A query or two alone: rows are read once, as they lie, and multiplied with the query in 16 bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "ops/scan_lists.hpp"

namespace pintsize {
namespace {

constexpr int64_t kFewColumns = 1024;
constexpr int64_t kStretch = 512;  // rows that one query goes through before the next does

// Sums of products fit 32 bits.
inline bool few_fits(const ScanRows& rows) { return rows.columns <= kFewColumns; }

struct FewQuery {
  std::vector<int16_t> codes;  // padded to whole vectors with zeros
  float step, sum, error, tiny;
};

inline FewQuery few_query(const float* query, int64_t columns) {
  FewQuery out;
  out.codes.assign((columns + 15) / 16 * 16, 0);
  float peak = 0;
  double total = 0, length = 0, left = 0;
  for (int64_t j = 0; j < columns; ++j) peak = std::max(peak, std::fabs(query[j]));
  const double reach = std::min(32767.0, 2147483647.0 / (255.0 * static_cast<double>(columns)));
  out.step = std::max(static_cast<float>(peak / std::floor(reach)), 1e-30f);
  for (int64_t j = 0; j < columns; ++j) {
    const double code = std::clamp<double>(std::rint(query[j] / out.step), -std::floor(reach), std::floor(reach));
    out.codes[j] = static_cast<int16_t>(code);
    total += query[j];
    length += static_cast<double>(query[j]) * query[j];
    left += std::fabs(query[j] - code * static_cast<double>(out.step));
  }
  out.sum = static_cast<float>(total);
  out.error = static_cast<float>(255 * left * (1 + 1e-6));
  out.tiny = static_cast<float>(std::sqrt(length * static_cast<double>(columns)) * (4e-6 + 2e-8 * static_cast<double>(columns)));
  return out;
}

// What a row's score cannot exceed, from the sum of its products.
inline float few_bound(const FewQuery& query, float sum, Line line) {
  const float product = line.scale * (query.step * sum), shift = line.offset * query.sum;
  return product + shift + std::fabs(line.scale) * query.error +
         (255 * std::fabs(line.scale) + std::fabs(line.offset)) * query.tiny;
}

inline int32_t few_sum(const uint8_t* codes, const int16_t* query, int64_t columns) {
  int32_t sum = 0;
  for (int64_t j = 0; j < columns; ++j) sum += codes[j] * query[j];
  return sum;
}

#ifdef __AVX2__
// Sums of eight rows from `record` on; whole vectors of 16 columns only.
inline __m256i few_sums(const uint8_t* record, int64_t stride, const int16_t* query, int64_t columns) {
  __m256i sums[8];
  for (int r = 0; r < 8; ++r) {
    const uint8_t* codes = record + r * stride;
    __m256i sum = _mm256_setzero_si256();
    for (int64_t j = 0; j < columns; j += 16) {
      const __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + j)));
      const __m256i k = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + j));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(wide, k));
    }
    sums[r] = sum;
  }
  const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
  const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[4], sums[5]), _mm256_hadd_epi32(sums[6], sums[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

// Scales and offsets of eight rows.
inline void few_lines(const ScanRows& rows, const uint8_t* record, __m256* scale, __m256* offset) {
  alignas(16) uint16_t scales[8], offsets[8];
  for (int r = 0; r < 8; ++r) {
    const uint8_t* at = record + r * rows.stride + rows.code_bytes;
    std::memcpy(scales + r, at, 2);
    if (rows.has_offset) std::memcpy(offsets + r, at + 2, 2);
  }
  const __m256 unit = _mm256_set1_ps(rows.unit);
  *scale = _mm256_mul_ps(_mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(scales))), unit);
  *offset = rows.has_offset ? _mm256_mul_ps(_mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(offsets))), unit)
                            : _mm256_mul_ps(_mm256_set1_ps(rows.bias), *scale);
}

inline uint32_t few_mask(const ScanRows& rows, const FewQuery& query, const uint8_t* record, float last) {
  const __m256 sums = _mm256_cvtepi32_ps(few_sums(record, rows.stride, query.codes.data(), rows.columns));
  __m256 scale, offset;
  few_lines(rows, record, &scale, &offset);
  const __m256 positive = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const __m256 width = _mm256_and_ps(scale, positive), away = _mm256_and_ps(offset, positive);
  const __m256 score = _mm256_fmadd_ps(_mm256_mul_ps(sums, _mm256_set1_ps(query.step)), scale,
                                       _mm256_mul_ps(offset, _mm256_set1_ps(query.sum)));
  const __m256 slack = _mm256_fmadd_ps(width, _mm256_set1_ps(query.error + 255 * query.tiny),
                                       _mm256_mul_ps(away, _mm256_set1_ps(query.tiny)));
  const __m256 out = _mm256_cmp_ps(_mm256_add_ps(score, slack), _mm256_set1_ps(last), _CMP_NLE_UQ);
  return static_cast<uint32_t>(_mm256_movemask_ps(out));
}
#endif

void few_bytes(const ScanRows& rows, const ScanAsked& asked, int64_t begin, int64_t end, const ScanLists& lists) {
  std::vector<FewQuery> queries;
  for (int64_t q = 0; q < asked.count; ++q) queries.push_back(few_query(asked.queries + q * rows.columns, rows.columns));
  for (int64_t first = begin; first < end; first += kStretch) {
    const int64_t stop = std::min(end, first + kStretch);
    for (int64_t q = 0; q < asked.count; ++q) {
      const FewQuery& query = queries[q];
      const float* last = lists.scores + q * asked.k + asked.k - 1;
      int64_t row = first;
#ifdef __AVX2__
      if (rows.columns % 16 == 0)
        for (; row + 8 <= stop; row += 8) {
          const uint8_t* record = rows.records + row * rows.stride;
          for (int64_t ahead = 0; ahead < 8 * rows.stride; ahead += 64)
            _mm_prefetch(reinterpret_cast<const char*>(record + 4096 + ahead), _MM_HINT_T0);
          for (uint32_t mask = few_mask(rows, query, record, *last); mask; mask &= mask - 1)
            offer_row(rows, asked, q, row + __builtin_ctz(mask), lists);
        }
#endif
      for (; row < stop; ++row) {
        const uint8_t* record = rows.records + row * rows.stride;
        const auto sum = static_cast<float>(few_sum(record, query.codes.data(), rows.columns));
        if (!(few_bound(query, sum, line_of(rows, record)) <= *last)) offer_row(rows, asked, q, row, lists);
      }
    }
  }
}

}  // namespace
}  // namespace pintsize
