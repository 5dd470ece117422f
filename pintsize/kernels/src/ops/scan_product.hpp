// Products of a block of rows with rounded queries, and the float scores of the rows that they cannot rule out.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/scan_block.hpp"
#include "ops/scan_lists.hpp"

namespace pintsize {
namespace {

// For every query, up to where a sum of this block's rows says that none of them can reach the list.
inline void set_limits(const Block& block, Rounded& rounded, const ScanAsked& asked, const ScanLists& lists,
                       std::vector<float>& last) {
  float scale = 0, top = -HUGE_VALF, bottom = HUGE_VALF, inside = 0, outside = 0, size = 0;
  for (int64_t l = 0; l < kRows; ++l) {
    scale = std::max(scale, block.scale[l]);
    top = std::max(top, block.middle[l]);
    bottom = std::min(bottom, block.middle[l]);
    inside = std::max(inside, block.inside[l]);
    outside = std::max(outside, block.outside[l]);
    size = std::max(size, block.size[l]);
  }
  const float inverse = scale > 0 ? 1 / scale : HUGE_VALF;
  for (int64_t q = 0; q < asked.count; ++q) last[q] = lists.scores[q * asked.k + asked.k - 1];
  const float *sum = rounded.sum.data(), *error = rounded.error.data(), *rest = rounded.rest.data(),
              *tiny = rounded.tiny.data(), *backward = rounded.backward.data(), *length = rounded.length.data();
  int32_t* limit = rounded.limit.data();
  for (int64_t q = 0; q < asked.count; ++q) {
    const float shift = std::max(top * sum[q], bottom * sum[q]);
    const float left = last[q] - shift - inside * error[q] - outside * rest[q] - size * tiny[q];
    float sums = left * backward[q] * inverse * (1 - kSlack) - 1.5f;
    sums = sums < length[q] * block.near ? sums : kNever;  // longer than any of these rows makes it
    sums = left > 0 ? sums : -kNever;
    limit[q] = static_cast<int32_t>(sums);
  }
}

// Bounds of all rows of the block by their sums; float scores of those that may reach the list.
[[gnu::noinline]] void look(const Block& block, const ScanRows& rows, const ScanAsked& asked, const Rounded& rounded, int64_t q,
                 const float* sums, const ScanLists& lists, Work& work) {
  const float step = rounded.step[q], sum = rounded.sum[q], error = rounded.error[q], rest = rounded.rest[q],
              tiny = rounded.tiny[q];
  float upper[kRows];
  for (int64_t r = 0; r < kRows; ++r) {
    const float product = block.scale[r] * step * sums[r], shift = block.middle[r] * sum;
    upper[r] = product + shift + (block.inside[r] * error + block.outside[r] * rest + block.size[r] * tiny) +
               (std::fabs(product) + std::fabs(shift)) * kSlack;
  }
  work.bounds += kRows;
  const float* last = lists.scores + q * asked.k + asked.k - 1;
  for (int64_t v = 0; v < block.present; v += kLanes) {
    uint32_t mask = 0;
#ifdef __AVX2__
    const __m256 bound = _mm256_set1_ps(*last);
    for (int64_t r = 0; r < kLanes; r += 8)
      mask |= static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(upper + v + r), bound, _CMP_NLT_UQ))) << r;
#else
    for (int64_t r = 0; r < kLanes; ++r) mask |= static_cast<uint32_t>(!(upper[v + r] < *last)) << r;
#endif
    for (; mask; mask &= mask - 1) {
      const int64_t r = v + __builtin_ctz(mask);
      if (r >= block.present) break;
      if (upper[r] < *last) continue;
      ++work.floats;
      offer_row(rows, asked, q, block.place[r], lists);
    }
  }
}

#if defined(__AVX512VNNI__)
// The sums of a block's rows with Q queries, in registers from the first column to the last.
template <int Q>
inline void against(const Block& block, const ScanRows& rows, const ScanAsked& asked, const Rounded& rounded, int64_t q0,
                    const ScanLists& lists, Work& work) {
  const int32_t* query[Q];
  __m512i sums[kVectors][Q];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
    query[q] = rounded.codes(q0 + q);
    int32_t back = 0;
    for (int64_t s = 0; s < rounded.segments(); ++s) back += rounded.back(q0 + q)[s];
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) {
      const __m256i zero = _mm256_load_si256(reinterpret_cast<const __m256i*>(block.zero + kLanes * v));
      sums[v][q] = _mm512_mullo_epi32(_mm512_cvtepi16_epi32(zero), _mm512_set1_epi32(back));
    }
  }
  const uint8_t* at = block.groups;
  const int64_t groups = rounded.chunks() * kGroups;
  for (int64_t g = 0; g < groups; ++g, at += kVectors * 64) {
    __m512i r[kVectors];
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) r[v] = _mm512_load_si512(at + 64 * v);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const __m512i code = _mm512_set1_epi32(query[q][g]);
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) sums[v][q] = _mm512_dpbusd_epi32(sums[v][q], r[v], code);
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
    const __m512i limit = _mm512_set1_epi32(rounded.limit[q0 + q]);
    __mmask16 over = 0;
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) over |= _mm512_cmpgt_epi32_mask(sums[v][q], limit);
    if (__builtin_expect(over == 0, 1)) continue;
    float found[kRows];
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) _mm512_storeu_ps(found + kLanes * v, _mm512_cvtepi32_ps(sums[v][q]));
    look(block, rows, asked, rounded, q0 + q, found, lists, work);
  }
}
#elif defined(__AVX2__)
inline __m256i even_words(__m256i sums) { return _mm256_srai_epi32(_mm256_slli_epi32(sums, 16), 16); }

// Sums of the products of a segment, the rows of a vector at their lanes.
template <int Q>
inline void segment(const Block& block, const Rounded& rounded, int64_t q0, int64_t number, __m256i sums[kVectors][Q]) {
  constexpr int64_t most = kSegment * kGroups;
  const int32_t* query[Q];
#pragma GCC unroll 4
  for (int q = 0; q < Q; ++q) {
    query[q] = rounded.codes(q0 + q) + number * most;
    const __m256i back = _mm256_set1_epi16(rounded.back(q0 + q)[number]);
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v)
      sums[v][q] = _mm256_mullo_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(block.zero + kLanes * v)), back);
  }
  const uint8_t* at = block.groups + number * most * kVectors * 32;
  const int64_t pairs = std::min(most, rounded.chunks() * kGroups - number * most);
  for (int64_t p = 0; p < pairs; ++p, at += kVectors * 32) {
    __m256i k[Q];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) k[q] = _mm256_set1_epi32(query[q][p]);
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) {
      const __m256i r = _mm256_load_si256(reinterpret_cast<const __m256i*>(at + 32 * v));
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) sums[v][q] = _mm256_add_epi16(sums[v][q], _mm256_maddubs_epi16(r, k[q]));
    }
  }
}

template <int Q>
inline void against(const Block& block, const ScanRows& rows, const ScanAsked& asked, const Rounded& rounded, int64_t q0,
                    const ScanLists& lists, Work& work) {
  const int64_t segments = rounded.segments();
  if (segments == 1) {
    __m256i sums[kVectors][Q];
    segment<Q>(block, rounded, q0, 0, sums);
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
      const int32_t least = std::clamp(rounded.limit[q0 + q], -32768, 32767);
      const __m256i limit = _mm256_set1_epi16(static_cast<int16_t>(least));
      __m256i over = _mm256_cmpgt_epi16(sums[0][q], limit);
#pragma GCC unroll 4
      for (int64_t v = 1; v < kVectors; ++v) over = _mm256_or_si256(over, _mm256_cmpgt_epi16(sums[v][q], limit));
      if (__builtin_expect(_mm256_testz_si256(over, over), 1)) continue;
      float found[kRows];
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) {
        _mm256_storeu_ps(found + kLanes * v, _mm256_cvtepi32_ps(even_words(sums[v][q])));
        _mm256_storeu_ps(found + kLanes * v + 8, _mm256_cvtepi32_ps(_mm256_srai_epi32(sums[v][q], 16)));
      }
      look(block, rows, asked, rounded, q0 + q, found, lists, work);
    }
    return;
  }
  alignas(32) int32_t wide[Q][kRows] = {{0}};
  for (int64_t s = 0; s < segments; ++s) {
    __m256i sums[kVectors][Q];
    segment<Q>(block, rounded, q0, s, sums);
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) {
        auto* at = reinterpret_cast<__m256i*>(wide[q] + kLanes * v);
        _mm256_store_si256(at, _mm256_add_epi32(_mm256_load_si256(at), even_words(sums[v][q])));
        _mm256_store_si256(at + 1, _mm256_add_epi32(_mm256_load_si256(at + 1), _mm256_srai_epi32(sums[v][q], 16)));
      }
  }
  for (int q = 0; q < Q; ++q) {
    const __m256i limit = _mm256_set1_epi32(rounded.limit[q0 + q]);
    __m256i over = _mm256_setzero_si256();
    for (int64_t r = 0; r < kRows; r += 8)
      over = _mm256_or_si256(over, _mm256_cmpgt_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(wide[q] + r)), limit));
    if (_mm256_testz_si256(over, over)) continue;
    float found[kRows];
    for (int64_t r = 0; r < kRows; ++r) found[r] = static_cast<float>(wide[q][r]);
    look(block, rows, asked, rounded, q0 + q, found, lists, work);
  }
}
#else
template <int Q>
inline void against(const Block& block, const ScanRows& rows, const ScanAsked& asked, const Rounded& rounded, int64_t q0,
                    const ScanLists& lists, Work& work) {
  for (int64_t q = q0; q < q0 + Q; ++q) {
    const int32_t* query = rounded.codes(q);
    int32_t sums[kRows], back = 0;
    for (int64_t s = 0; s < rounded.segments(); ++s) back += rounded.back(q)[s];
    for (int64_t l = 0; l < kRows; ++l) sums[l] = block.zero[l] * back;
    for (int64_t p = 0; p < rounded.chunks() * kGroups; ++p) {
      const int first = static_cast<int8_t>(query[p] & 255), second = static_cast<int8_t>(query[p] >> 8 & 255);
      const uint8_t* at = block.groups + p * kRows * 2;
      for (int64_t l = 0; l < kRows; ++l) sums[l] += at[2 * l] * first + at[2 * l + 1] * second;
    }
    bool over = false;
    for (int64_t l = 0; l < kRows; ++l) over |= sums[l] > rounded.limit[q];
    if (!over) continue;
    float found[kRows];
    for (int64_t r = 0; r < kRows; ++r) found[r] = static_cast<float>(sums[r / kLanes * kLanes + lane_of(r)]);
    look(block, rows, asked, rounded, q, found, lists, work);
  }
}
#endif

inline void against_all(const Block& block, const ScanRows& rows, const ScanAsked& asked, Rounded& rounded,
                        const ScanLists& lists, std::vector<float>& last, Work& work) {
  set_limits(block, rounded, asked, lists, last);
  int64_t q = 0;
  const int32_t* limit = rounded.limit.data();
  constexpr int kQueries = kWide ? 6 : 2;  // as many as registers hold the sums of
  for (; q + kQueries <= asked.count; q += kQueries)
    if (*std::min_element(limit + q, limit + q + kQueries) < kNever)
      against<kQueries>(block, rows, asked, rounded, q, lists, work);
  for (; q < asked.count; ++q)
    if (limit[q] < kNever) against<1>(block, rows, asked, rounded, q, lists, work);
}

}  // namespace
}  // namespace pintsize
