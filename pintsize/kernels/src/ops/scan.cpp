#include "ops/scan.hpp"

#include <cmath>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace pintsize {
namespace {

constexpr int64_t kRows = 32;     // rows of a block: transposed once for all queries
constexpr int64_t kVectors = 4;   // of 8 rows each
constexpr int64_t kQueries = 3;   // queries of a tile
constexpr float kSlack = 1e-5f;   // float rounding of the bounds themselves, relative to what they are made of

struct Block {
  const uint8_t* groups;  // (padded / 4) groups of kRows x 4 codes
  float scale[kRows], offset[kRows], error[kRows], size[kRows];
};

int reach(int largest) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  (void)largest;
  return 127;
#else
  // Two products of a pair, twice, must fit 16 signed bits.
  const int most = 32767 / (4 * (largest > 0 ? largest : 1));
  return most > 127 ? 127 : most;
#endif
}

int64_t padded_columns(int64_t columns) { return (columns + 7) / 8 * 8; }
int64_t workspace_bytes(int64_t columns) { return padded_columns(columns) * kRows + 64; }

// Codes of four neighbouring columns stay together; rows of a group lie side by side.
void transpose(const ScanRows& rows, int64_t begin, int64_t count, int center, uint8_t* groups, Block& block) {
  const int64_t padded = padded_columns(rows.columns);
  if (count < kRows || padded != rows.columns) std::memset(groups, center, padded * kRows);
  for (int64_t r = 0; r < kRows; ++r) {
    if (r >= count) {
      block.scale[r] = block.offset[r] = block.error[r] = block.size[r] = 0;
      continue;
    }
    const uint8_t* code = rows.codes + (begin + r) * rows.stride;
    int64_t c = 0, squares = 0;
    for (; c + 4 <= rows.columns; c += 4) std::memcpy(groups + c * kRows + 4 * r, code + c, 4);
    for (; c < rows.columns; ++c) groups[(c / 4) * 4 * kRows + 4 * r + c % 4] = code[c];
    int32_t sum = 0;
    for (int64_t j = 0; j < rows.columns; ++j) {
      const int32_t d = static_cast<int32_t>(code[j]) - center;
      sum += d * d;
    }
    squares = sum;
    block.scale[r] = rows.scale[begin + r];
    block.offset[r] = rows.offset[begin + r];
    block.error[r] = std::fabs(block.scale[r]) * std::sqrt(static_cast<float>(squares));
    block.size[r] = std::fabs(block.scale[r]);
  }
  block.groups = groups;
}

void push(ScanFound& found, int64_t query, float low, float high, int64_t row) {
  const int64_t at = query * found.capacity + found.held[query]++;
  found.low[at] = low;
  found.high[at] = high;
  found.row[at] = row;
}

// The k-th largest of `count` values, by partitioning a copy.
float kth_largest(float* values, int64_t count, int64_t k) {
  int64_t left = 0, right = count - 1, want = k - 1;
  while (left < right) {
    const float pivot = values[left + (right - left) / 2];
    int64_t i = left, j = right;
    while (i <= j) {
      while (values[i] > pivot) ++i;
      while (values[j] < pivot) --j;
      if (i <= j) {
        const float t = values[i];
        values[i++] = values[j];
        values[j--] = t;
      }
    }
    if (want <= j) right = j;
    else if (want >= i) left = i;
    else break;
  }
  return values[want];
}

void shrink(ScanFound& found, int64_t query) {
  const int64_t held = found.held[query];
  if (held < found.k) return;
  float* low = found.low + query * found.capacity;
  float* high = found.high + query * found.capacity;
  int64_t* row = found.row + query * found.capacity;
  float copy[4096];
  float* values = held <= 4096 ? copy : new float[held];
  std::memcpy(values, low, held * sizeof(float));
  const float bound = kth_largest(values, held, found.k);
  if (values != copy) delete[] values;
  if (bound > found.bound[query]) found.bound[query] = bound;
  int64_t kept = 0;
  for (int64_t i = 0; i < held; ++i) {
    if (high[i] < found.bound[query]) continue;
    low[kept] = low[i];
    high[kept] = high[i];
    row[kept++] = row[i];
  }
  found.held[query] = kept;
}

#ifdef __AVX2__
template <int Q>
inline void tile(const Block& block, const int8_t* const* query, int64_t groups, __m256i sums[kVectors][Q]) {
  for (int v = 0; v < kVectors; ++v)
    for (int q = 0; q < Q; ++q) sums[v][q] = _mm256_setzero_si256();
#if !(defined(__AVX512VNNI__) && defined(__AVX512VL__))
  const __m256i ones = _mm256_set1_epi16(1);
#endif
  for (int64_t g = 0; g < groups; g += 2) {
    const uint8_t* at = block.groups + g * 4 * kRows;
    __m256i a[Q], b[Q];
    for (int q = 0; q < Q; ++q) {
      int32_t x, y;
      std::memcpy(&x, query[q] + 4 * g, 4);
      std::memcpy(&y, query[q] + 4 * g + 4, 4);
      a[q] = _mm256_set1_epi32(x);
      b[q] = _mm256_set1_epi32(y);
    }
    for (int v = 0; v < kVectors; ++v) {
      const __m256i r = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32 * v));
      const __m256i s = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 4 * kRows + 32 * v));
      for (int q = 0; q < Q; ++q) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
        sums[v][q] = _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(sums[v][q], r, a[q]), s, b[q]);
#else
        const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(r, a[q]), _mm256_maddubs_epi16(s, b[q]));
        sums[v][q] = _mm256_add_epi32(sums[v][q], _mm256_madd_epi16(pairs, ones));
#endif
      }
    }
  }
}
#endif

struct Place {
  const ScanQueries* queries;
  ScanFound* found;
  int64_t first;
  int64_t count;
  float center;
};

// Takes the rows of a block whose upper bound reaches the query's bound.
void take(const Place& place, int64_t q, const float* score, const float* slack, uint32_t mask) {
  ScanFound& found = *place.found;
  if (found.held[q] + kRows > found.capacity) return;  // full of rows that tie: `offer` reports it
  while (mask) {
    const int r = __builtin_ctz(mask);
    mask &= mask - 1;
    if (r >= place.count) break;
    push(found, q, score[r] - slack[r], score[r] + slack[r], place.first + r);
  }
  if (found.held[q] + kRows > found.capacity) shrink(found, q);
}

template <int Q>
void against(const Block& block, const Place& place, int64_t q0) {
  const ScanQueries& queries = *place.queries;
  const int64_t groups = queries.padded / 4;
  const int8_t* query[Q];
  for (int q = 0; q < Q; ++q) query[q] = queries.codes + (q0 + q) * queries.padded;
  alignas(32) float score[kRows], slack[kRows];
#ifdef __AVX2__
  __m256i sums[kVectors][Q];
  tile<Q>(block, query, groups, sums);
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  for (int q = 0; q < Q; ++q) {
    const int64_t at = q0 + q;
    const __m256 step = _mm256_set1_ps(queries.step[at]), sum = _mm256_set1_ps(queries.sum[at]);
    const __m256 residue = _mm256_set1_ps(place.center * queries.residue[at]);
    const __m256 error = _mm256_set1_ps(queries.error[at]), bound = _mm256_set1_ps(place.found->bound[at]);
    uint32_t mask = 0;
    __m256 value[kVectors], width[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const __m256 dot = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[v][q]), step, residue);
      const __m256 scaled = _mm256_mul_ps(dot, _mm256_loadu_ps(block.scale + 8 * v));
      const __m256 shift = _mm256_mul_ps(sum, _mm256_loadu_ps(block.offset + 8 * v));
      value[v] = _mm256_add_ps(scaled, shift);
      const __m256 rounding = _mm256_add_ps(_mm256_and_ps(scaled, magnitude), _mm256_and_ps(shift, magnitude));
      width[v] = _mm256_fmadd_ps(rounding, _mm256_set1_ps(kSlack),
                                 _mm256_mul_ps(error, _mm256_loadu_ps(block.error + 8 * v)));
      const __m256 over = _mm256_cmp_ps(_mm256_add_ps(value[v], width[v]), bound, _CMP_GE_OQ);
      mask |= static_cast<uint32_t>(_mm256_movemask_ps(over)) << (8 * v);
    }
    if (__builtin_expect(mask != 0, 0)) {
      for (int v = 0; v < kVectors; ++v) {
        _mm256_store_ps(score + 8 * v, value[v]);
        _mm256_store_ps(slack + 8 * v, width[v]);
      }
      take(place, at, score, slack, mask);
    }
  }
#else
  for (int q = 0; q < Q; ++q) {
    const int64_t at = q0 + q;
    uint32_t mask = 0;
    int32_t sums[kRows] = {0};
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t r = 0; r < kRows; ++r) {
        const uint8_t* code = block.groups + g * 4 * kRows + 4 * r;
        const int8_t* k = query[q] + 4 * g;
        sums[r] += code[0] * k[0] + code[1] * k[1] + code[2] * k[2] + code[3] * k[3];
      }
    for (int64_t r = 0; r < kRows; ++r) {
      const float scaled =
          (static_cast<float>(sums[r]) * queries.step[at] + place.center * queries.residue[at]) * block.scale[r];
      const float shift = queries.sum[at] * block.offset[r];
      score[r] = scaled + shift;
      slack[r] = (std::fabs(scaled) + std::fabs(shift)) * kSlack + queries.error[at] * block.error[r];
      if (score[r] + slack[r] >= place.found->bound[at]) mask |= 1u << r;
    }
    if (mask) take(place, at, score, slack, mask);
  }
#endif
}

float half(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
#ifdef __F16C__
  return _cvtsh_ss(bits);
#else
  const uint32_t exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float value = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                 : std::ldexp(static_cast<float>(1024 + mantissa), static_cast<int>(exponent) - 25);
  return bits & 0x8000 ? -value : value;
#endif
}

void meta(const uint8_t* records, int64_t stride, int64_t count, bool has_offset, float unit, float bias, float* scale,
          float* offset) {
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* at = records + i * stride;
    scale[i] = half(at) * unit;
    offset[i] = has_offset ? half(at + 2) * unit : bias * scale[i];
  }
}

bool offer(const ScanRows& rows, const ScanQueries& queries, int largest, int64_t first, ScanFound& found,
           uint8_t* workspace) {
  const int center = (largest + 1) / 2;
  Block block;
  for (int64_t begin = 0; begin < rows.count; begin += kRows) {
    const int64_t count = rows.count - begin < kRows ? rows.count - begin : kRows;
    transpose(rows, begin, count, center, workspace, block);
    const Place place{&queries, &found, first + begin, count, static_cast<float>(center)};
    int64_t q = 0;
    for (; q + kQueries <= queries.count; q += kQueries) against<kQueries>(block, place, q);
    for (; q < queries.count; ++q) against<1>(block, place, q);
  }
  for (int64_t q = 0; q < queries.count; ++q)
    if (found.held[q] + kRows > found.capacity) return false;
  return true;
}

}  // namespace

PINTSIZE_TABLE(Scan, scan) {
  static const Scan table{reach, meta, offer, workspace_bytes, shrink};
  return table;
}

}  // namespace pintsize
