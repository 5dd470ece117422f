// Exact top-k over byte codes in integer arithmetic.
//
// A query is rounded to a few bits, and the error of every rounded score is bounded (Cauchy-Schwarz on the rounding
// residue), so that the rows which may be among the k best are known for certain; the caller rescores only those.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

// Rows as bytes, with what turns a sum of codes into a score:  score = scale * sum(q * code) + offset * sum(q).
struct ScanRows {
  const uint8_t* codes;  // (count x columns), `stride` bytes apart
  int64_t stride;
  int64_t count;
  int64_t columns;
  const float* scale;   // (count)
  const float* offset;  // (count)
};

// Queries rounded to step * k, |k| <= reach, padded with zeros to a multiple of 8 columns.
struct ScanQueries {
  const int8_t* codes;  // (count x padded)
  int64_t count;
  int64_t padded;
  const float* step;     // (count)
  const float* sum;      // (count): sum of the float query
  const float* residue;  // (count): sum of the rounding errors
  const float* error;    // (count): Euclidean norm of the rounding errors
};

struct ScanFound {
  int64_t k;
  int64_t capacity;   // candidates a query has room for: more than k + 64
  float* bound;       // (queries): lower bound of the k-th best true score so far
  int64_t* held;      // (queries): candidates held
  float* low;         // (queries x capacity): lower bound of a candidate's score
  float* high;        // (queries x capacity): upper bound
  int64_t* row;       // (queries x capacity)
};

struct Scan {
  // The largest |k| of a query code for codes 0..largest.
  int (*reach)(int largest);
  // Scale and offset of each row, from the float16 that lie behind its codes (`records` points at the first scale).
  void (*meta)(const uint8_t* records, int64_t stride, int64_t count, bool has_offset, float unit, float bias,
               float* scale, float* offset);
  // Offers rows `first`, first + 1, ... to every query. `workspace` has room for workspace_bytes(columns).
  // Returns false if a query has more possible rows than it has room for: scan exactly instead.
  bool (*offer)(const ScanRows& rows, const ScanQueries& queries, int largest, int64_t first, ScanFound& found,
                uint8_t* workspace);
  int64_t (*workspace_bytes)(int64_t columns);
  // Drops the candidates of a query that cannot be among its k best.
  void (*shrink)(ScanFound& found, int64_t query);
};

PINTSIZE_DECLARE(Scan, scan)

}  // namespace pintsize
