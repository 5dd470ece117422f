// Rows of 1, 2 or 4 bits a column ranked by table look-ups: half a byte of codes is an index into sixteen entries.
//
// Tables are rounded to six bits, so that four entries fit a byte and all of a row 16 bits (cf. the fast scan of André et
// al. 2017). What is found is a ranking for a second stage; what was rounded off is not bounded.
#pragma once

#include "ops/scan.hpp"

namespace pintsize {

struct BitTables {
  const uint8_t* entries;  // (count x tables x 16), at most kMostEntry
  int64_t count;
  int64_t tables;  // two for each byte of codes: its low half, then its high half
  // score = scale * (step * sum of entries + base) + offset * total
  const float* step;
  const float* base;
  const float* total;
};

// What a query has found, in no order: room for `capacity` rows, of which at most `wanted` remain after `settle`.
struct BitFound {
  int64_t wanted;
  int64_t capacity;  // more than wanted + kBitRows
  float* scores;     // (count x capacity)
  int64_t* rows;     // (count x capacity)
  int64_t* held;     // (count)
  float* bound;      // (count): scores below cannot be among the wanted
};

constexpr int64_t kBitRows = 128;  // rows of a block
constexpr int64_t kMostEntry = 63;
constexpr int64_t kMostTables = 512;

struct ScanBits {
  // Offers rows [begin, end). `allowed` as in ScanAsked.
  void (*offer)(const ScanRows& rows, const BitTables& tables, const uint8_t* allowed, int64_t begin, int64_t end,
                const BitFound& found);
  // Keeps the best `wanted` of a query: higher scores, then lower rows.
  void (*settle)(const BitFound& found, int64_t query);
};

PINTSIZE_DECLARE(ScanBits, scan_bits)

}  // namespace pintsize
