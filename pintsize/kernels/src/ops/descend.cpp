#include "ops/descend.hpp"

#include <cmath>
#include <cstring>

namespace pintsize {
namespace {

// Sums run in this many lanes whatever the instruction set, so that all of them give the same bits.
constexpr int64_t lanes = 16;

int64_t padded(int64_t count) { return (count + lanes - 1) / lanes * lanes; }

float total(const float* sums) {
  float s[lanes];
  std::memcpy(s, sums, sizeof s);
  for (int64_t half = lanes / 2; half > 0; half /= 2)
    for (int64_t l = 0; l < half; ++l) s[l] += s[l + half];
  return s[0];
}

float dot(const float* __restrict a, const float* __restrict b, int64_t count) {
  float sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (int64_t l = 0; l < lanes; ++l) sums[l] += a[i + l] * b[i + l];
  for (int64_t l = 0; i + l < count; ++l) sums[l] += a[i + l] * b[i + l];
  return total(sums);
}

void add(float* __restrict to, const float* __restrict from, float times, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += times * from[i];
}

// One row at work: its list's other rows, times the root of their weight, stored by column and padded with zeros. The
// row is held without its scale, which may be tiny: what is kept up to date then loses no digits.
struct Work {
  float* columns_of;  // (columns, width)
  float* root;        // (width): sqrt(alpha * weight)
  float* wanted;      // (width): root * target
  float* met;         // (width): root * (product of the unscaled row)
  float* row;         // (columns): levels[codes]
  float* product;     // (columns): gram * row
  float* aim;         // (columns): the constant part of the gradient, of all pairs and listed ones
  float* curvature;   // (columns)
  int64_t width;
};

int64_t scratch(int64_t longest, int64_t columns) {
  const int64_t width = padded(longest);
  return columns * width + 3 * width + 4 * columns;
}

Work lay_out(float* scratch, int64_t count, int64_t columns) {
  Work w;
  w.width = padded(count);
  w.columns_of = scratch;
  w.root = w.columns_of + columns * w.width;
  w.wanted = w.root + w.width;
  w.met = w.wanted + w.width;
  w.row = w.met + w.width;
  w.product = w.row + columns;
  w.aim = w.product + columns;
  w.curvature = w.aim + columns;
  return w;
}

void gather(const Side& side, int64_t r, const Work& w) {
  const Lists& lists = side.lists;
  const int64_t first = lists.indptr[r], count = lists.indptr[r + 1] - first, columns = side.columns;
  constexpr int64_t tile = 8;
  for (int64_t k = 0; k < w.width; ++k) {
    const bool there = k < count;
    const float weight = there ? (lists.weights ? lists.weights[first + k] : 1.0f) : 0.0f;
    w.root[k] = std::sqrt(lists.alpha * weight);
    w.wanted[k] = there ? w.root[k] * lists.targets[first + k] : 0.0f;
  }
  for (int64_t k = 0; k < w.width; k += tile) {
    const float* from[tile];
    for (int64_t t = 0; t < tile; ++t) from[t] = side.other + (k + t < count ? lists.ids[first + k + t] * columns : 0);
    const float* root = w.root + k;
    for (int64_t j = 0; j < columns; ++j) {
      float* __restrict to = w.columns_of + j * w.width + k;
      for (int64_t t = 0; t < tile; ++t) to[t] = root[t] * from[t][j];
    }
  }
}

// The scale of least error for the row's codes, which is where the slope along the row vanishes.
float best_scale(const Work& w, const float* aim, int64_t columns, float floor) {
  const float above = dot(w.row, aim, columns) + dot(w.met, w.wanted, w.width);
  const float below = dot(w.row, w.product, columns) + dot(w.met, w.met, w.width);
  const float scale = below > 0.0f ? above / below : floor;
  return scale > floor ? scale : floor;
}

int64_t sweep(const Side& side, uint8_t* codes, float scale, const Work& w) {
  const int64_t columns = side.columns;
  const float* levels = side.levels;
  int64_t changes = 0;
  for (int64_t j = 0; j < columns; ++j) {
    const float* column = w.columns_of + j * w.width;
    const float slope = w.product[j] + dot(column, w.met, w.width) - w.aim[j] / scale;
    const float wish = w.row[j] - slope / w.curvature[j];
    uint8_t code = 0;
    for (int32_t l = 1; l < side.num_levels; ++l) code += wish > 0.5f * (levels[l - 1] + levels[l]);
    if (code == codes[j]) continue;
    const float step = levels[code] - levels[codes[j]];
    codes[j] = code;
    w.row[j] = levels[code];
    add(w.product, side.gram + j * columns, step, columns);
    add(w.met, column, step, w.width);
    ++changes;
  }
  return changes;
}

int64_t one_row(const Side& side, int64_t r, float* scratch_space) {
  const int64_t columns = side.columns;
  const Lists& lists = side.lists;
  const Work w = lay_out(scratch_space, lists.indptr[r + 1] - lists.indptr[r], columns);
  gather(side, r, w);
  uint8_t* codes = side.codes + r * columns;
  const float* aim = side.aim + r * columns;
  for (int64_t k = 0; k < w.width; ++k) w.met[k] = 0.0f;
  for (int64_t j = 0; j < columns; ++j) {
    w.row[j] = side.levels[codes[j]];
    w.product[j] = side.product[r * columns + j];
    add(w.met, w.columns_of + j * w.width, w.row[j], w.width);
  }
  if (side.fit_before) side.scales[r] = best_scale(w, aim, columns, side.floor);
  if (side.sweeps == 0) return 0;

  for (int64_t j = 0; j < columns; ++j) {
    const float* column = w.columns_of + j * w.width;
    w.aim[j] = aim[j] + dot(column, w.wanted, w.width);
    const float curvature = side.gram[j * columns + j] + dot(column, column, w.width);
    w.curvature[j] = curvature > 0.0f ? curvature : 1.0f;  // a column that nothing depends on
  }
  int64_t changes = 0;
  for (int32_t s = 0; s < side.sweeps; ++s) {
    const int64_t now = sweep(side, codes, side.scales[r], w);
    changes += now;
    if (now == 0) break;
    if (side.fit_after) side.scales[r] = best_scale(w, aim, columns, side.floor);
  }
  return changes;
}

int64_t rows(const Side& side, int64_t begin, int64_t end, float* scratch_space) {
  int64_t changes = 0;
  for (int64_t r = begin; r < end; ++r) changes += one_row(side, r, scratch_space);
  return changes;
}

void products(const float* left, const float* right, int64_t columns, const int64_t* indptr, const int32_t* ids,
              int64_t begin, int64_t end, float* out) {
  for (int64_t r = begin; r < end; ++r)
    for (int64_t p = indptr[r]; p < indptr[r + 1]; ++p)
      out[p] = dot(left + r * columns, right + ids[p] * columns, columns);
}

void pull(const float* left, const float* right, int64_t columns, const Lists& lists, int64_t begin, int64_t end,
          float* out) {
  for (int64_t r = begin; r < end; ++r) {
    float* to = out + r * columns;
    for (int64_t j = 0; j < columns; ++j) to[j] = 0.0f;
    for (int64_t p = lists.indptr[r]; p < lists.indptr[r + 1]; ++p) {
      const float* y = right + lists.ids[p] * columns;
      const float weight = lists.alpha * (lists.weights ? lists.weights[p] : 1.0f);
      add(to, y, weight * (dot(left + r * columns, y, columns) - lists.targets[p]), columns);
    }
  }
}

void transpose(const int64_t* indptr, const int32_t* ids, const float* targets, int64_t rows, int64_t cap,
               const int64_t* starts, const int64_t* totals, int64_t* seen, int32_t* out_ids, float* out_targets) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t p = indptr[r]; p < indptr[r + 1]; ++p) {
      const int64_t to = ids[p], count = totals[to], nth = seen[to]++;
      int64_t place = nth;
      if (count > cap) {
        place = nth * cap / count;
        if ((nth + 1) * cap / count == place) continue;
      }
      out_ids[starts[to] + place] = static_cast<int32_t>(r);
      out_targets[starts[to] + place] = targets[p];
    }
  }
}

}  // namespace

PINTSIZE_TABLE(Descend, descend) {
  static const Descend table{scratch, rows, products, pull, transpose};
  return table;
}

}  // namespace pintsize
