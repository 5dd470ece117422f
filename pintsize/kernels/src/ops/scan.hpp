// Exact top-k over byte codes, most of it in integer arithmetic.
//
// A query is rounded to a few bits and multiplied with the leading columns of every row. What rounding and the columns
// left out can add is bounded (Cauchy-Schwarz), so that rows which cannot reach the query's list are known for certain.
// The others, few, are scored in float, and that score alone decides.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

// Records of `columns` byte codes with a float16 scale and, if `has_offset`, a float16 offset behind them.
struct ScanRows {
  const uint8_t* records;
  int64_t stride;
  int64_t columns;
  int64_t code_bytes;
  bool has_offset;
  float unit;
  float bias;
};

struct ScanAsked {
  const float* queries;  // (count x columns), finite
  int64_t count;
  int64_t k;
  const int64_t* starts;  // (count + 1): where a query's rows begin in `hidden`
  const int64_t* hidden;  // rows never to return, rising within a query
  const uint8_t* allowed;  // a byte a row, 0 for rows never to return; or null
};

// The lists of the queries, (count x k), best first; empty places are -inf and -1.
struct ScanLists {
  float* scores;
  int64_t* rows;
};

struct Scan {
  // Offers rows [begin, end) to the lists. False: bounds tell too little of this table, scores alone must decide.
  bool (*bytes)(const ScanRows& rows, const ScanAsked& asked, int64_t begin, int64_t end, const ScanLists& lists);
  // Scores of (count x width) rows, a line a query; a row of -1 scores -inf.
  void (*scores)(const ScanRows& rows, const float* queries, int64_t count, const int64_t* chosen, int64_t width,
                 float* out);
};

PINTSIZE_DECLARE(Scan, scan)

}  // namespace pintsize
