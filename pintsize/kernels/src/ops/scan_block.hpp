// The inner part of the byte scan: blocks of rows side by side, queries rounded for them, and the products of both.
//
// Sixteen rows stand side by side in a vector of 16-bit sums; codes of two neighbouring columns lie together, as one
// multiply-add of bytes takes them. Sums of a segment of columns never leave 16 bits: queries are rounded coarsely enough
// for rows whose centred codes are at most `longest` long there, and longer rows are not judged by them.
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
constexpr int64_t kPairs = kChunkColumns / 2;
constexpr int64_t kSegment = 4;    // chunks whose products are summed in 16 bits
constexpr int64_t kMostChunks = 64;
constexpr int kCenter = 128;
constexpr int kMostCode = 64;  // two products of 255 and this fit 16 bits
constexpr float kSlack = 1e-5f;
constexpr float kNever = 1 << 30;  // no sum gets there

inline int64_t chunks_of(int64_t columns) { return (columns + kChunkColumns - 1) / kChunkColumns; }

// Lane of a row of sixteen: rows 0-7 on even lanes, 8-15 on odd ones, which is how words of two vectors interleave.
inline int64_t lane_of(int64_t row) { return (row & 7) * 2 + (row >> 3 & 1); }

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
    pairs.assign(n * order.size() * kPairs, 0);
  }

  int64_t chunks() const { return chunks_; }
  float longest() const { return longest_; }
  const int32_t* codes(int64_t q) const { return pairs.data() + q * chunks_ * kPairs; }

  void round(int64_t chunks, float longest) {
    chunks_ = chunks;
    longest_ = std::min(longest, 255.0f * std::sqrt(static_cast<float>(kSegment * kChunkColumns)));
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
    const double room = 32700.0 / longest_ - 0.5 * std::sqrt(static_cast<double>(kSegment * kChunkColumns));
    double width = std::max<double>(peak / kMostCode, std::sqrt(densest) / std::max(room, 1e-3));
    if (!(width > 1e-30)) width = 1e-30;
    step[q] = static_cast<float>(width);
    backward[q] = 1 / step[q];
    int64_t squares = 0;
    int16_t* backs_here = backs.data() + q * segments();
    std::fill_n(backs_here, segments(), 0);
    int32_t* out = pairs.data() + q * chunks_ * kPairs;
    for (int64_t i = 0; i < chunks_; ++i)
      for (int64_t p = 0; p < kPairs; ++p) {
        int code[2];
        for (int64_t b = 0; b < 2; ++b) {
          const int64_t j = order_[i] * kChunkColumns + 2 * p + b;
          const float value = j < rows_.columns ? query[j] : 0;
          code[b] = room > 1e-3 ? static_cast<int>(std::lrint(value / step[q])) : 0;
          code[b] = std::clamp(code[b], -kMostCode, kMostCode);
          const double left = static_cast<double>(value) - static_cast<double>(step[q]) * code[b];
          off += left * left;
          backs_here[i / kSegment] = static_cast<int16_t>(backs_here[i / kSegment] - code[b]);
          squares += code[b] * code[b];
        }
        const uint32_t pair = static_cast<uint8_t>(code[0]) | static_cast<uint32_t>(static_cast<uint8_t>(code[1])) << 8;
        out[i * kPairs + p] = static_cast<int32_t>(pair | pair << 16);
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
  std::vector<int32_t> pairs;
  std::vector<int16_t> backs;
  int64_t chunks_ = 0;
  float longest_ = 1;
};

// Rows of a block.
struct Block {
  explicit Block(int64_t chunks) : bytes(chunks * kPairs * kVectors * 32 + 64) {
    groups = bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
  }

  std::vector<uint8_t> bytes;
  uint8_t* groups;  // (pair of columns, vector, 32 bytes)
  float scale[kRows], middle[kRows], inside[kRows], outside[kRows], size[kRows];
  int64_t place[kRows];              // rows
  int64_t present = 0;               // rows there are; behind them the last is repeated
  alignas(32) int16_t zero[kRows];   // by lane: the code that stands for zero
  float near = 0;        // length of the longest row's centred codes within the chunks taken
  float longest = 0;     // the same within a segment, of all rows seen

  void load(const ScanRows& rows, const std::vector<int64_t>& order, const Rounded& rounded, const int64_t* chosen,
            int64_t count);

 private:
  // Puts a chunk of sixteen rows side by side and adds up their centred codes and the squares, by row.
  void chunk(const uint8_t* const* records, int64_t column, int64_t columns, int64_t pair, int64_t vector, int32_t* squares,
             int32_t* totals);
};

void Block::chunk(const uint8_t* const* records, int64_t column, int64_t columns, int64_t pair, int64_t vector,
                  int32_t* squares, int32_t* totals) {
  uint8_t* out = groups + (pair * kVectors + vector) * 32;
  constexpr int64_t next = kVectors * 32;
#ifdef __AVX2__
  if (columns == kChunkColumns) {
    const __m256i sign = _mm256_set1_epi8(static_cast<char>(kCenter));
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i words[2][4];
    for (int half = 0; half < 2; ++half) {
      __m256i r[4];
      for (int i = 0; i < 4; ++i) {
        const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(records[8 * half + i] + column));
        const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(records[8 * half + 4 + i] + column));
        r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
      }
      const __m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
      const __m256i c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
      words[half][0] = _mm256_unpacklo_epi64(a, c);
      words[half][1] = _mm256_unpackhi_epi64(a, c);
      words[half][2] = _mm256_unpacklo_epi64(b, d);
      words[half][3] = _mm256_unpackhi_epi64(b, d);
      auto* square_at = reinterpret_cast<__m256i*>(squares + 8 * half);
      auto* total_at = reinterpret_cast<__m256i*>(totals + 8 * half);
      __m256i square = _mm256_loadu_si256(square_at), total = _mm256_loadu_si256(total_at);
      for (const __m256i word : words[half]) {
        const __m256i centred = _mm256_xor_si256(word, sign);
        const __m256i odd = _mm256_srai_epi16(centred, 8), even = _mm256_srai_epi16(_mm256_slli_epi16(centred, 8), 8);
        square = _mm256_add_epi32(square, _mm256_add_epi32(_mm256_madd_epi16(odd, odd), _mm256_madd_epi16(even, even)));
        total = _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_add_epi16(odd, even), ones));
      }
      _mm256_storeu_si256(square_at, square);
      _mm256_storeu_si256(total_at, total);
    }
    for (int g = 0; g < 4; ++g) {
      const __m256i low = _mm256_blend_epi16(words[0][g], _mm256_slli_epi32(words[1][g], 16), 0xaa);
      const __m256i high = _mm256_blend_epi16(_mm256_srli_epi32(words[0][g], 16), words[1][g], 0xaa);
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + 2 * g * next), low);
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + (2 * g + 1) * next), high);
    }
    return;
  }
#endif
  for (int64_t row = 0; row < kLanes; ++row)
    for (int64_t j = 0; j < kChunkColumns; ++j) {
      const uint8_t code = j < columns ? records[row][column + j] : static_cast<uint8_t>(kCenter);
      out[j / 2 * next + 2 * lane_of(row) + j % 2] = code;
      squares[row] += (code - kCenter) * (code - kCenter);
      totals[row] += code - kCenter;
    }
}

void Block::load(const ScanRows& rows, const std::vector<int64_t>& order, const Rounded& rounded,
                 const int64_t* chosen, int64_t count) {
  const auto chunks = static_cast<int64_t>(order.size());
  const uint8_t* records[kRows];
  float offset[kRows], shift[kRows], most[kRows];
  // Of each segment taken, and of all that is left out.
  constexpr int64_t parts = kMostChunks / kSegment + 1;
  int32_t squares[parts][kRows], totals[parts][kRows];
  const int64_t segments = rounded.segments();
  std::fill_n(squares[0], (segments + 1) * kRows, 0);
  std::fill_n(totals[0], (segments + 1) * kRows, 0);
  present = count;
  for (int64_t r = 0; r < kRows; ++r) {
    place[r] = chosen[std::min(r, count - 1)];
    records[r] = rows.records + place[r] * rows.stride;
    const Line line = line_of(rows, records[r]);
    scale[r] = line.scale;
    offset[r] = line.offset;
  }
  int64_t columns[parts] = {0};
  for (int64_t i = 0; i < chunks; ++i) {
    const int64_t column = order[i] * kChunkColumns, width = std::min(kChunkColumns, rows.columns - column);
    const int64_t part = i < rounded.chunks() ? i / kSegment : segments;
    columns[part] += width;
    // What is left out is only measured: its place is behind what is taken.
    for (int64_t v = 0; v < kVectors; ++v)
      chunk(records + v * kLanes, column, width, i * kPairs, v, squares[part] + v * kLanes, totals[part] + v * kLanes);
  }
  // Codes are counted from the one that stands for zero, or the nearest there is.
  for (int64_t r = 0; r < kRows; ++r) {
    float from = -offset[r] / scale[r];
    from = from > 0 ? from : 0;
    from = from < 255 ? from : 255;
    shift[r] = static_cast<float>(static_cast<int32_t>(from + 0.5f));
    inside[r] = 0;
    most[r] = 0;
  }
  for (int64_t part = 0; part <= segments; ++part)
    for (int64_t r = 0; r < kRows; ++r) {
      const float away = shift[r] - static_cast<float>(kCenter);
      float square = static_cast<float>(squares[part][r]) - 2 * away * static_cast<float>(totals[part][r]) +
                     away * away * static_cast<float>(columns[part]);
      square = square > 0 ? square * (1 + kSlack) + kSlack * away * away * static_cast<float>(columns[part]) : 0;
      if (part == segments) outside[r] = square;
      else inside[r] += square, most[r] = std::max(most[r], square);
    }
  const float root = std::sqrt(static_cast<float>(rows.columns)), limit = rounded.longest();
  float near_here = 0, longest_here = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    const float width = std::fabs(scale[r]), length = std::sqrt(inside[r]), segment = std::sqrt(most[r]);
    near_here = std::max(near_here, length);
    longest_here = std::max(longest_here, segment);
    middle[r] = offset[r] + shift[r] * scale[r];
    outside[r] = width * std::sqrt(outside[r]);
    inside[r] = width * length;
    size[r] = inside[r] + outside[r] + (std::fabs(offset[r]) + 255 * width) * root;
    if (segment > limit || scale[r] < 0) inside[r] = HUGE_VALF;
  }
  near = near_here;
  longest = std::max(longest, longest_here);
  for (int64_t r = 0; r < kRows; ++r)
    zero[r / kLanes * kLanes + lane_of(r)] = static_cast<int16_t>(static_cast<int32_t>(shift[r]));
}

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

#ifdef __AVX2__
inline __m256i even_words(__m256i sums) { return _mm256_srai_epi32(_mm256_slli_epi32(sums, 16), 16); }

// Sums of the products of a segment, the rows of a vector at their lanes.
template <int Q>
inline void segment(const Block& block, const Rounded& rounded, int64_t q0, int64_t number, __m256i sums[kVectors][Q]) {
  constexpr int64_t most = kSegment * kPairs;
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
  const int64_t pairs = std::min(most, rounded.chunks() * kPairs - number * most);
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
    for (int64_t p = 0; p < rounded.chunks() * kPairs; ++p) {
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
  for (; q + 2 <= asked.count; q += 2)
    if (limit[q] < kNever || limit[q + 1] < kNever) against<2>(block, rows, asked, rounded, q, lists, work);
  for (; q < asked.count; ++q)
    if (limit[q] < kNever) against<1>(block, rows, asked, rounded, q, lists, work);
}

}  // namespace
}  // namespace pintsize
