#include "ops/rotate.hpp"

#include "ops/lanes.hpp"

namespace pintsize {
namespace {

// The butterflies over neighbours at distance 1, 2 and 4.
PINTSIZE_INLINE void first_three(float* x) {
#ifdef PINTSIZE_AVX2
  F8 v = load(x);
  v = __builtin_shuffle(v, I8{1, 0, 3, 2, 5, 4, 7, 6}) + v * F8{1, -1, 1, -1, 1, -1, 1, -1};
  v = __builtin_shuffle(v, I8{2, 3, 0, 1, 6, 7, 4, 5}) + v * F8{1, 1, -1, -1, 1, 1, -1, -1};
  v = __builtin_shuffle(v, I8{4, 5, 6, 7, 0, 1, 2, 3}) + v * F8{1, 1, 1, 1, -1, -1, -1, -1};
  store(x, v);
#else
  float y[8];
  for (int i = 0; i < 8; i += 2) y[i] = x[i] + x[i + 1], y[i + 1] = x[i] - x[i + 1];
  float z[8];
  for (int i = 0; i < 8; i += 4)
    for (int j = i; j < i + 2; ++j) z[j] = y[j] + y[j + 2], z[j + 2] = y[j] - y[j + 2];
  for (int j = 0; j < 4; ++j) x[j] = z[j] + z[j + 4], x[j + 4] = z[j] - z[j + 4];
#endif
}

// All butterflies of WIDTH values.
template <int WIDTH>
PINTSIZE_INLINE void small(float* x) {
  constexpr int N = WIDTH / 8;
  for (int i = 0; i < N; ++i) first_three(x + 8 * i);
  F8 v[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) v[i] = load(x + 8 * i);
#pragma GCC unroll 8
  for (int half = 1; half < N; half *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      if (i & half) continue;
      const F8 a = v[i], b = v[i + half];
      v[i] = a + b;
      v[i + half] = a - b;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) store(x + 8 * i, v[i]);
}

void tiny(float* x, int64_t width) {
  for (int64_t half = 1; half < width; half *= 2)
    for (int64_t i = 0; i < width; i += 2 * half)
      for (int64_t j = i; j < i + half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
      }
}

void butterflies(float* x, int64_t width) {
  if (width < 16) return tiny(x, width);
  if (width == 16) return small<16>(x);
  if (width == 32) return small<32>(x);
  for (int64_t i = 0; i < width; i += 64) small<64>(x + i);
  int64_t half = 64;
  // Two steps at a time, to go through the row half as often.
  for (; 2 * half < width; half *= 4) {
    for (int64_t i = 0; i < width; i += 4 * half) {
      for (int64_t j = i; j < i + half; j += 8) {
        const F8 a = load(x + j), b = load(x + j + half), c = load(x + j + 2 * half), d = load(x + j + 3 * half);
        const F8 ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
        store(x + j, ab + cd);
        store(x + j + half, a_b + c_d);
        store(x + j + 2 * half, ab - cd);
        store(x + j + 3 * half, a_b - c_d);
      }
    }
  }
  if (half < width) {
    for (int64_t j = 0; j < half; j += 8) {
      const F8 a = load(x + j), b = load(x + j + half);
      store(x + j, a + b);
      store(x + j + half, a - b);
    }
  }
}

struct Block {
  int64_t width;
  float scale;
};

// The widest power of two, and float32(1 / sqrt(width)) as the twin rounds it.
Block block_of(int64_t columns) {
  int64_t width = 1;
  while (2 * width <= columns) width *= 2;
  return {width, static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(width)))};
}

PINTSIZE_INLINE void times(float* x, const float* factors, int64_t columns) {
  int64_t c = 0;
  for (; c + 8 <= columns; c += 8) store(x + c, load(x + c) * load(factors + c));
  for (; c < columns; ++c) x[c] *= factors[c];
}

PINTSIZE_INLINE void times(float* x, float factor, int64_t columns) {
  int64_t c = 0;
  for (; c + 8 <= columns; c += 8) store(x + c, load(x + c) * factor);
  for (; c < columns; ++c) x[c] *= factor;
}

void signs(const uint8_t* packed, int64_t rounds, int64_t columns, float* out) {
  const int64_t width = (columns + 7) / 8;
  for (int64_t r = 0; r < rounds; ++r)
    for (int64_t c = 0; c < columns; ++c)
      out[r * columns + c] = (packed[r * width + c / 8] >> (c % 8)) & 1 ? 1.0f : -1.0f;
}

void forward(float* rows, int64_t count, int64_t columns, const float* signs, int64_t rounds) {
  const Block block = block_of(columns);
  for (int64_t i = 0; i < count; ++i) {
    float* x = rows + i * columns;
    for (int64_t r = 0; r < rounds; ++r) {
      float* part = x + (r % 2 ? columns - block.width : 0);
      times(x, signs + r * columns, columns);
      butterflies(part, block.width);
      times(part, block.scale, block.width);
    }
  }
}

void back(float* rows, int64_t count, int64_t columns, const float* signs, int64_t rounds) {
  const Block block = block_of(columns);
  for (int64_t i = 0; i < count; ++i) {
    float* x = rows + i * columns;
    for (int64_t r = rounds; r-- > 0;) {
      float* part = x + (r % 2 ? columns - block.width : 0);
      butterflies(part, block.width);
      times(part, block.scale, block.width);
      times(x, signs + r * columns, columns);
    }
  }
}

}  // namespace

PINTSIZE_TABLE(Rotate, rotate) {
  static const Rotate table{signs, forward, back};
  return table;
}

}  // namespace pintsize
