// Rows and bags of a CodebookTable, before its rotation.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct CodebookTable {
  const uint8_t* records;
  int64_t rows, stride, record_bytes;
  int64_t columns;      // to write: those of the codewords, or fewer
  int64_t codes, bits;  // of a row
  bool sum;             // codewords added, or side by side
  const uint8_t* books;
  bool half;  // float16 codebooks
  bool shared_book;
  int64_t codewords, width;
};

struct CodeRows {
  // Both return the position of the first row with a code past its codebook, or -1. `line`: `columns` floats of scratch.
  int64_t (*gather)(const CodebookTable& table, const int64_t* rows, int64_t count, float* out);
  int64_t (*bag)(const CodebookTable& table, const int64_t* rows, int64_t total, const int64_t* starts, int64_t bags,
                 int64_t first, int64_t last, bool mean, const float* weights, float* out, float* line);
};

PINTSIZE_DECLARE(CodeRows, code_rows)

}  // namespace pintsize
