#include "ops/scan_bits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/scan_alike.hpp"
#include "ops/scan_lists.hpp"

namespace pintsize {
namespace {

constexpr int64_t kVectors = kBitRows / 32;
constexpr int64_t kTogether = 4;  // entries whose sum fits a byte
constexpr float kSlack = 1e-5f;

struct BitBlock {
  const uint8_t* halves;  // (tables x kBitRows): half bytes
  const int64_t* rows;
  int64_t count;
  float scale[kBitRows], offset[kBitRows];
};

void load(const ScanRows& rows, int64_t tables, const int64_t* chosen, int64_t count, uint8_t* halves, BitBlock& block) {
  for (int64_t r = 0; r < kBitRows; ++r) {
    const uint8_t* record = rows.records + chosen[std::min(r, count - 1)] * rows.stride;
    for (int64_t t = 0; t + 1 < tables; t += 2) {
      halves[t * kBitRows + r] = record[t / 2] & 15;
      halves[(t + 1) * kBitRows + r] = record[t / 2] >> 4;
    }
    const Line line = line_of(rows, record);
    block.scale[r] = line.scale;
    block.offset[r] = rows.has_offset ? line.offset : 0;
  }
  block.halves = halves;
  block.rows = chosen;
  block.count = count;
}

// The better of two finds comes first.
struct Find {
  float score;
  int64_t row;
  bool operator<(const Find& other) const { return score > other.score || (score == other.score && row < other.row); }
};

void settle(const BitFound& found, int64_t query) {
  const int64_t held = found.held[query], at = query * found.capacity;
  if (held < found.wanted) return;
  std::vector<Find> finds(held);
  for (int64_t i = 0; i < held; ++i) finds[i] = {found.scores[at + i], found.rows[at + i]};
  std::nth_element(finds.begin(), finds.begin() + (found.wanted - 1), finds.end());
  for (int64_t i = 0; i < found.wanted; ++i) {
    found.scores[at + i] = finds[i].score;
    found.rows[at + i] = finds[i].row;
  }
  found.held[query] = found.wanted;
  found.bound[query] = finds[found.wanted - 1].score;
}

// Sums below this cannot reach the bound in any row of the block.
int32_t least_sum(const BitTables& tables, int64_t q, float bound, float scale, float shift) {
  const float left = bound - shift - kSlack * (std::fabs(bound) + std::fabs(shift));
  if (!(left > 0)) return -1;
  if (!(scale > 0)) return std::numeric_limits<int16_t>::max();
  const float sum = (left / scale * (1 - kSlack) - tables.base[q] - kSlack * std::fabs(tables.base[q])) / tables.step[q];
  return sum < -1.0f ? -1 : sum > 32766.0f ? std::numeric_limits<int16_t>::max() : static_cast<int32_t>(sum) - 1;
}

void take(const BitBlock& block, const BitTables& tables, const uint8_t* allowed, const BitFound& found, int64_t q,
          int64_t r, int32_t sum) {
  if (r >= block.count || (allowed && !allowed[block.rows[r]])) return;
  const float score = block.scale[r] * (tables.step[q] * static_cast<float>(sum) + tables.base[q]) +
                      block.offset[r] * tables.total[q];
  if (!(score >= found.bound[q])) return;
  const int64_t at = q * found.capacity + found.held[q]++;
  found.scores[at] = score;
  found.rows[at] = block.rows[r];
}

void against(const BitBlock& block, const BitTables& tables, const uint8_t* allowed, const BitFound& found, int64_t q,
             int32_t least) {
  const uint8_t* entry = tables.entries + q * tables.tables * 16;
  alignas(32) int16_t sums[kBitRows];
#ifdef __AVX2__
  __m256i even[kVectors], odd[kVectors];
#pragma GCC unroll 4
  for (int64_t v = 0; v < kVectors; ++v) even[v] = odd[v] = _mm256_setzero_si256();
  const uint8_t* at = block.halves;
  const auto index = [](const uint8_t* place) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(place)); };
  const auto table = [](const uint8_t* place) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(place)));
  };
  int64_t t = 0;
  for (; t + kTogether <= tables.tables; t += kTogether, at += kTogether * kBitRows, entry += kTogether * 16) {
    __m256i sum[kVectors];
    const __m256i first = table(entry);
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) sum[v] = _mm256_shuffle_epi8(first, index(at + 32 * v));
#pragma GCC unroll 4
    for (int64_t i = 1; i < kTogether; ++i) {
      const __m256i next = table(entry + 16 * i);
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v)
        sum[v] = _mm256_add_epi8(sum[v], _mm256_shuffle_epi8(next, index(at + i * kBitRows + 32 * v)));
    }
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) {
      // The low byte of a word brings the high one along; what that adds is taken off at the end.
      even[v] = _mm256_add_epi16(even[v], sum[v]);
      odd[v] = _mm256_add_epi16(odd[v], _mm256_srli_epi16(sum[v], 8));
    }
  }
  for (; t < tables.tables; ++t, at += kBitRows, entry += 16) {
    const __m256i next = table(entry);
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) {
      const __m256i sum = _mm256_shuffle_epi8(next, index(at + 32 * v));
      even[v] = _mm256_add_epi16(even[v], sum);
      odd[v] = _mm256_add_epi16(odd[v], _mm256_srli_epi16(sum, 8));
    }
  }
  const __m256i limit = _mm256_set1_epi16(static_cast<int16_t>(least));
  __m256i over = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int64_t v = 0; v < kVectors; ++v) {
    even[v] = _mm256_sub_epi16(even[v], _mm256_slli_epi16(odd[v], 8));
    over = _mm256_or_si256(over, _mm256_cmpgt_epi16(_mm256_max_epi16(even[v], odd[v]), limit));
  }
  if (__builtin_expect(_mm256_testz_si256(over, over), 1)) return;
#pragma GCC unroll 4
  for (int64_t v = 0; v < kVectors; ++v) {
    uint32_t mask[2] = {static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpgt_epi16(even[v], limit))) & 0x55555555u,
                        static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpgt_epi16(odd[v], limit))) & 0xaaaaaaaau};
    if (!(mask[0] | mask[1])) continue;
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), even[v]);
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 16), odd[v]);
    for (uint32_t both = mask[0] | mask[1]; both; both &= both - 1) {
      const int r = __builtin_ctz(both);
      take(block, tables, allowed, found, q, 32 * v + r, sums[(r & 1) * 16 + r / 2]);
    }
  }
#else
  for (int64_t r = 0; r < kBitRows; ++r) sums[r] = 0;
  for (int64_t t = 0; t < tables.tables; ++t)
    for (int64_t r = 0; r < kBitRows; ++r)
      sums[r] = static_cast<int16_t>(sums[r] + entry[t * 16 + block.halves[t * kBitRows + r]]);
  for (int64_t r = 0; r < kBitRows; ++r)
    if (sums[r] > least) take(block, tables, allowed, found, q, r, sums[r]);
#endif
}

void offer(const ScanRows& rows, const BitTables& tables, const uint8_t* allowed, int64_t begin, int64_t end,
           const BitFound& found) {
  std::vector<uint8_t> space(tables.tables * kBitRows + 64);
  uint8_t* halves = space.data() + (64 - reinterpret_cast<uintptr_t>(space.data()) % 64) % 64;
  int64_t chosen[kAlike];
  BitBlock block;
  for (int64_t first = begin; first < end; first += kAlike) {
    const int64_t count = std::min(kAlike, end - first);
    alike(rows, first, count, chosen);
    for (int64_t at = 0; at < count; at += kBitRows) {
      load(rows, tables.tables, chosen + at, std::min(kBitRows, count - at), halves, block);
      const float scale = *std::max_element(block.scale, block.scale + kBitRows);
      const float least = *std::min_element(block.scale, block.scale + kBitRows);
      const float top = *std::max_element(block.offset, block.offset + kBitRows);
      const float bottom = *std::min_element(block.offset, block.offset + kBitRows);
      for (int64_t q = 0; q < tables.count; ++q) {
        if (found.held[q] + kBitRows > found.capacity) settle(found, q);
        const float shift = std::max(top * tables.total[q], bottom * tables.total[q]);
        // A negative scale turns the order round: every row is looked at.
        const int32_t sum = least < 0 ? -1 : least_sum(tables, q, found.bound[q], scale, shift);
        if (sum < std::numeric_limits<int16_t>::max()) against(block, tables, allowed, found, q, sum);
      }
    }
  }
  for (int64_t q = 0; q < tables.count; ++q) settle(found, q);
}

}  // namespace

PINTSIZE_TABLE(ScanBits, scan_bits) {
  static const ScanBits table{offer, settle};
  return table;
}

}  // namespace pintsize
