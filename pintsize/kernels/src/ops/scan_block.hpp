// A block of rows of the byte scan, side by side as the product takes them.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/scan_rounded.hpp"

namespace pintsize {
namespace {

// Rows of a block.
struct Block {
  explicit Block(int64_t chunks) : bytes(chunks * kChunkColumns * kRows + 64) {
    groups = bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
  }

  std::vector<uint8_t> bytes;
  uint8_t* groups;  // (group of columns, vector, bytes of sixteen rows)
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
  void chunk(const uint8_t* const* records, int64_t column, int64_t columns, int64_t group, int64_t vector, int32_t* squares,
             int32_t* totals);
};

void Block::chunk(const uint8_t* const* records, int64_t column, int64_t columns, int64_t group, int64_t vector,
                  int32_t* squares, int32_t* totals) {
  constexpr int64_t bytes_of_group = kLanes * kTogether, next = kVectors * bytes_of_group;
  uint8_t* out = groups + group * next + vector * bytes_of_group;
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
      if (kWide) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + g * next), words[0][g]);
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + g * next + 32), words[1][g]);
        continue;
      }
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
      out[j / kTogether * next + kTogether * lane_of(row) + j % kTogether] = code;
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
      chunk(records + v * kLanes, column, width, i * kGroups, v, squares[part] + v * kLanes, totals[part] + v * kLanes);
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

}  // namespace
}  // namespace pintsize
