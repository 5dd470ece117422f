#include "ops/encode_rotated.hpp"

#include <cmath>

#include "ops/encode_lanes.hpp"

namespace pintsize {
namespace {

// The Walsh-Hadamard transform times `norm`, two or three stages at a time.
void hadamard(Floats* y, int64_t width, float norm) {
  int64_t half = 1;
  if (width >= 8) {
    for (int64_t i = 0; i < width; i += 8) {
      Floats v[8], w[8];
      for (int k = 0; k < 8; ++k) v[k] = y[i + k];
      for (int k = 0; k < 8; k += 2) w[k] = v[k] + v[k + 1], w[k + 1] = v[k] - v[k + 1];
      for (int k = 0; k < 8; k += 4)
        for (int j = k; j < k + 2; ++j) v[j] = w[j] + w[j + 2], v[j + 2] = w[j] - w[j + 2];
      for (int k = 0; k < 4; ++k) y[i + k] = v[k] + v[k + 4], y[i + k + 4] = v[k] - v[k + 4];
    }
    half = 8;
  }
  for (; 4 * half <= width; half *= 4) {
    for (int64_t block = 0; block < width; block += 4 * half) {
      for (int64_t i = block; i < block + half; ++i) {
        const Floats a = y[i], b = y[i + half], c = y[i + 2 * half], d = y[i + 3 * half];
        const Floats ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
        y[i] = ab + cd;
        y[i + half] = a_b + c_d;
        y[i + 2 * half] = ab - cd;
        y[i + 3 * half] = a_b - c_d;
      }
    }
  }
  if (half == width) {
    for (int64_t i = 0; i < width; ++i) y[i] *= norm;
    return;
  }
  for (int64_t i = 0; i < half; ++i) {
    const Floats a = y[i], b = y[i + half];
    y[i] = (a + b) * norm;
    y[i + half] = (a - b) * norm;
  }
}

// The sign bit to flip in each column, round by round.
void signs_of(const SymmetricCode& code, int32_t* flips) {
  const int64_t columns = code.columns;
  for (int64_t round = 0; round < code.rounds; ++round) {
    const uint8_t* signs = code.signs + round * ((columns + 7) / 8);
    for (int64_t c = 0; c < columns; ++c)
      flips[round * columns + c] = static_cast<int32_t>((~(signs[c / 8] >> (c % 8)) & 1u) << 31);
  }
}

void rotate(const SymmetricCode& code, const int32_t* flips, Floats* y, Floats* spare) {
  const int64_t columns = code.columns;
  if (code.dense) {
    for (int64_t i = 0; i < columns; ++i) {
      Floats sum{};
      for (int64_t j = 0; j < columns; ++j) sum += y[j] * code.dense[i * columns + j];
      spare[i] = sum;
    }
    std::memcpy(y, spare, sizeof(Floats) * columns);
    return;
  }
  int64_t width = 1;
  while (2 * width <= columns) width *= 2;
  const float norm = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)));
  for (int64_t round = 0; round < code.rounds; ++round) {
    const int32_t* flip = flips + round * columns;
    for (int64_t c = 0; c < columns; ++c) y[c] = reinterpret_cast<Floats>(reinterpret_cast<Ints>(y[c]) ^ flip[c]);
    hadamard(y + (round % 2 ? columns - width : 0), width, norm);
  }
}

inline Floats level_of(Floats a, Floats inverse, Floats top) { return whole(minimum(a * inverse, top)); }

// The level and a half: of two levels without a way through integers.
template <bool kTwoLevels>
inline Floats centre_of(Floats a, Floats inverse, Floats top) {
  if (kTwoLevels) return a * inverse >= 1.0f ? splat(1.5f) : splat(0.5f);
  return level_of(a, inverse, top) + 0.5f;
}

template <bool kTwoLevels>
Floats best_scale(const SymmetricCode& code, const Floats* a, Floats top) {
  const int64_t columns = code.columns;
  if (code.bits == 1) {
    const Floats total = row_sum(columns, [&](int64_t c) { return a[c]; });
    if (!code.unbiased) return 2.0f * (total / static_cast<float>(columns));
    const Floats squares = row_sum(columns, [&](int64_t c) { return a[c] * a[c]; });
    return 2.0f * (squares / (total > 0.0f ? total : splat(1.0f)));
  }
  const Floats largest = largest_of(columns, [&](int64_t c) { return a[c]; });
  Floats single{};
  if (code.step_count == 0) {
    const Floats mean = row_sum(columns, [&](int64_t c) { return a[c] * a[c]; }) / static_cast<float>(columns);
    for (int l = 0; l < kLanes; ++l) single[l] = std::sqrt(mean[l]);
    single = minimum(code.gaussian_step * single, largest / (top + 1.0f));
  }
  const Floats tiny = splat(0x1p-100f);
  Floats best = splat(-1.0f), chosen{};
  for (int64_t s = 0; s < (code.step_count ? code.step_count : 1); ++s) {
    const Floats step = code.step_count ? code.steps[s] * largest : single;
    const Floats inverse = step > tiny ? 1.0f / maximum(step, tiny) : Floats{};
    RowSum ps, ws;
    auto add = [&](int64_t c, Floats& p, Floats& w) {
      const Floats q = centre_of<kTwoLevels>(a[c], inverse, top);
      p += a[c] * q;
      w += q * q;
    };
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) {
      add(c, ps.s0, ws.s0);
      add(c + 1, ps.s1, ws.s1);
      add(c + 2, ps.s2, ws.s2);
      add(c + 3, ps.s3, ws.s3);
    }
    if (c < columns) add(c, ps.s0, ws.s0);
    if (c + 1 < columns) add(c + 1, ps.s1, ws.s1);
    if (c + 2 < columns) add(c + 2, ps.s2, ws.s2);
    const Floats p = ps.total(), w = ws.total(), score = p * p / w;
    const Ints better = score > best;
    best = better ? score : best;
    chosen = better ? p / w : chosen;
  }
  return chosen;
}

int64_t encode(const SymmetricCode& code, const float* rows, int64_t count, uint8_t* out) {
  const int64_t columns = code.columns;
  int64_t record = 2;
  for (int digit = 8; digit >= 1; digit >>= 1)
    if (code.bits & digit) record += plane_width(columns, digit);
  Scratch<Floats> y(columns), a(columns);
  Scratch<Ints> codes(columns);
  Scratch<int32_t> flips(code.dense ? 0 : code.rounds * columns);
  if (!code.dense) signs_of(code, flips.data());
  const int32_t middle = 1 << (code.bits - 1);
  const Floats top = splat(static_cast<float>(middle - 1));
  for (int64_t start = 0; start < count; start += kLanes) {
    const int64_t here = count - start < kLanes ? count - start : kLanes;
    if (!load_rows(rows + start * columns, here, columns, code.inverse_unit, code.limit, y.data())) return start;
    if (code.dense || code.rounds) rotate(code, flips.data(), y.data(), a.data());
    for (int64_t c = 0; c < columns; ++c) a[c] = absolute(y[c]);
    uint16_t bits[kLanes];
    const Floats best = code.bits == 2 ? best_scale<true>(code, a.data(), top) : best_scale<false>(code, a.data(), top);
    const Floats scale = half(best, bits);
    for (int l = 0; l < kLanes; ++l)
      if ((bits[l] & 0x7c00u) == 0x7c00u) return start;
    const Floats inverse = scale > 0.0f ? 1.0f / scale : Floats{};
    for (int64_t c = 0; c < columns; ++c) {
      const Ints m = __builtin_convertvector(minimum(a[c] * inverse, top), Ints);
      codes[c] = (y[c] >= 0.0f) ? middle + m : middle - 1 - m;
    }
    uint8_t* record_out = out + start * record;
    const int64_t width = pack_rows(codes.data(), columns, code.bits, record_out, record, here);
    store_halves(bits, record_out + width, record, here);
  }
  return -1;
}

}  // namespace

PINTSIZE_TABLE(EncodeRotated, encode_rotated) {
  static const EncodeRotated table{encode};
  return table;
}

}  // namespace pintsize
