// Eight floats at a time, for every instruction set: GCC's vectors, and AVX2 where compilers do not find it themselves.
// Everything here has internal linkage, because each instruction set compiles its own copy.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) && defined(__F16C__)
#include <immintrin.h>
#define PINTSIZE_AVX2 1
#endif

#define PINTSIZE_INLINE inline __attribute__((always_inline))
#pragma GCC diagnostic ignored "-Wunused-function"

namespace pintsize {
namespace {

typedef float F8 __attribute__((vector_size(32)));
typedef int32_t I8 __attribute__((vector_size(32)));

PINTSIZE_INLINE F8 load(const float* p) {
  F8 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

PINTSIZE_INLINE void store(float* p, F8 v) { std::memcpy(p, &v, sizeof v); }

PINTSIZE_INLINE F8 all(float x) { return F8{x, x, x, x, x, x, x, x}; }

PINTSIZE_INLINE F8 to_floats(I8 x) { return __builtin_convertvector(x, F8); }

#ifdef PINTSIZE_AVX2
// Eight bytes as integers.
PINTSIZE_INLINE I8 widen(const uint8_t* p) {
  return (I8)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
#endif

PINTSIZE_INLINE float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

PINTSIZE_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

PINTSIZE_INLINE float from_half(uint16_t h) {
#ifdef PINTSIZE_AVX2
  return _cvtsh_ss(h);
#else
  // The exponent is moved from one bias to the other by a product, which also brings subnormal numbers in order.
  const uint32_t sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
  const uint32_t finite = bits_of(from_bits(rest) * 0x1p112f);
  return from_bits(sign | ((h & 0x7c00u) == 0x7c00u ? rest | 0x7f800000u : finite));
#endif
}

// Eight half floats.
PINTSIZE_INLINE F8 load_halves(const uint8_t* p) {
#ifdef PINTSIZE_AVX2
  return (F8)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  float v[8];
  for (int i = 0; i < 8; ++i) {
    uint16_t h;
    std::memcpy(&h, p + 2 * i, 2);
    v[i] = from_half(h);
  }
  return load(v);
#endif
}

PINTSIZE_INLINE float half_at(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return from_half(h);
}

// Asks for the cache lines of a record that is read soon.
PINTSIZE_INLINE void fetch_ahead(const uint8_t* p, int64_t bytes) {
  __builtin_prefetch(p);
  for (int64_t k = 64; k < bytes; k += 64) __builtin_prefetch(p + k);
  __builtin_prefetch(p + bytes - 1);
}

// How many rows ahead: enough requests to fill the memory's queue, few enough to stay in the first cache.
constexpr int64_t AHEAD = 24;

// eight(c) for each c = 0, 8, ... that leaves eight columns or more, then one(c) for each column left. Unrolled, because
// processors reach twice as far ahead, past rows still on their way from memory, where a row's loop has no branches.
template <class Eight, class One>
PINTSIZE_INLINE void each_column(int64_t columns, const Eight& eight, const One& one) {
  int64_t c = 0;
  for (; c + 64 <= columns; c += 64) {
#pragma GCC unroll 8
    for (int k = 0; k < 64; k += 8) eight(c + k);
  }
  if (columns & 32) {
#pragma GCC unroll 4
    for (int k = 0; k < 32; k += 8) eight(c + k);
    c += 32;
  }
  if (columns & 16) {
    eight(c);
    eight(c + 8);
    c += 16;
  }
  if (columns & 8) {
    eight(c);
    c += 8;
  }
  for (; c < columns; ++c) one(c);
}

// Where values go: written, or added with or without a factor.
struct Put {
  PINTSIZE_INLINE void operator()(float* out, F8 v) const { store(out, v); }
  PINTSIZE_INLINE void operator()(float* out, float v) const { *out = v; }
};

struct Add {
  PINTSIZE_INLINE void operator()(float* out, F8 v) const { store(out, load(out) + v); }
  PINTSIZE_INLINE void operator()(float* out, float v) const { *out += v; }
};

struct AddTimes {
  float factor;
  PINTSIZE_INLINE void operator()(float* out, F8 v) const { store(out, load(out) + v * factor); }
  PINTSIZE_INLINE void operator()(float* out, float v) const { *out += v * factor; }
};

template <class Sink>
PINTSIZE_INLINE void pour(const float* from, int64_t count, float* out, Sink sink) {
  each_column(
      count, [&](int64_t c) { sink(out + c, load(from + c)); }, [&](int64_t c) { sink(out + c, from[c]); });
}

// Which bags: first..last of `bags` over `total` rows. `starts` has one entry a bag.
struct Bags {
  const int64_t* starts;
  int64_t first, last, bags, total;
  bool mean;
  const float* weights;  // or null

  PINTSIZE_INLINE int64_t end(int64_t bag) const { return bag + 1 < bags ? starts[bag + 1] : total; }
};

// Bags of rows that `row(i, sum, sink)` pours out, i counting through all rows of all bags.
template <class Row>
PINTSIZE_INLINE void sum_bags(const Bags& of, int64_t columns, float* out, const Row& row) {
  for (int64_t b = of.first; b < of.last; ++b) {
    float* sum = out + b * columns;
    const int64_t begin = of.starts[b], end = of.end(b);
    std::memset(sum, 0, sizeof(float) * static_cast<size_t>(columns));
    if (of.weights) {
      for (int64_t i = begin; i < end; ++i) row(i, sum, AddTimes{of.weights[i]});
    } else {
      for (int64_t i = begin; i < end; ++i) row(i, sum, Add{});
    }
    if (of.mean && end > begin) {
      const float count = static_cast<float>(end - begin);
      for (int64_t c = 0; c < columns; ++c) sum[c] /= count;
    }
  }
}

// The same for WIDTH columns from `column` on, with the sums in registers: a sum in memory is read back before the row
// that it waits for has come, which costs half the speed.
template <int WIDTH, class Row>
PINTSIZE_INLINE void sum_bags_in_registers(const Bags& of, int64_t columns, int64_t column, float* out, const Row& row) {
  for (int64_t b = of.first; b < of.last; ++b) {
    F8 sums[WIDTH / 8] = {};
    float* sum = reinterpret_cast<float*>(sums);
    const int64_t begin = of.starts[b], end = of.end(b);
    if (of.weights) {
      for (int64_t i = begin; i < end; ++i) row(i, sum, AddTimes{of.weights[i]});
    } else {
      for (int64_t i = begin; i < end; ++i) row(i, sum, Add{});
    }
    const F8 count = all(of.mean && end > begin ? static_cast<float>(end - begin) : 1.0f);
#pragma GCC unroll 8
    for (int k = 0; k < WIDTH / 8; ++k) store(out + b * columns + column + 8 * k, sums[k] / count);
  }
}

}  // namespace
}  // namespace pintsize
