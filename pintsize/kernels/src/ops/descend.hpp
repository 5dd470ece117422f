// Fitting codes so that the products of two tables survive: one side moves, the other stands still.
//
// A row r of the moving side is c_r * levels[codes_r]. It should meet every row of the other side in a given product
// (through the Gram matrix of that side, so no row of it is read) and its listed rows once more, with a weight of
// their own. Rows do not depend on each other: any split over threads gives the same bits.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct Lists {
  const int64_t* indptr;   // (rows + 1): where each row's list begins in the three arrays below
  const int32_t* ids;      // rows of the other side
  const float* targets;    // the product that each pair should have
  const float* weights;    // of each pair; null: all 1
  float alpha;             // multiplies every weight
};

struct Side {
  uint8_t* codes;          // (rows, columns), changed in place
  float* scales;           // (rows), changed in place when fitted
  const float* levels;     // (num_levels), ascending
  const float* gram;       // (columns, columns): other^T other
  const float* product;    // (rows, columns): levels[codes] * gram, before any change
  const float* aim;        // (rows, columns): b, the gradient's constant part
  const float* other;      // (other rows, columns)
  Lists lists;
  int64_t columns;
  int32_t num_levels;
  int32_t sweeps;          // at most; a row that no longer changes stops earlier
  float floor;             // scales never fall below
  bool fit_before, fit_after;  // the scale in closed form, before the sweeps and after each
};

struct Descend {
  // Floats of scratch for lists of at most `longest` pairs.
  int64_t (*scratch)(int64_t longest, int64_t columns);
  // Coordinate descent over rows [begin, end); returns how many codes changed.
  int64_t (*rows)(const Side& side, int64_t begin, int64_t end, float* scratch);
  // out[p] = left_r . right_ids[p] for every pair p of the rows [begin, end).
  void (*products)(const float* left, const float* right, int64_t columns, const int64_t* indptr, const int32_t* ids,
                   int64_t begin, int64_t end, float* out);
  // out_r = alpha * sum over the list of r of weight * (left_r . y - target) * y.
  void (*pull)(const float* left, const float* right, int64_t columns, const Lists& lists, int64_t begin, int64_t end,
               float* out);
  // Lists by the other side's rows: of the `count` pairs of a row, at most `cap`, evenly spaced.
  // `starts` (other rows + 1) says where each goes; `seen` (other rows) comes in as zeros, `totals` as full counts.
  void (*transpose)(const int64_t* indptr, const int32_t* ids, const float* targets, int64_t rows, int64_t cap,
                    const int64_t* starts, const int64_t* totals, int64_t* seen, int32_t* out_ids, float* out_targets);
};

PINTSIZE_DECLARE(Descend, descend)

}  // namespace pintsize
