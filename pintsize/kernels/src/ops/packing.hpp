// Codes to bytes and back, as formats/_packing.py lays them.
#pragma once

#include "dispatch.hpp"

namespace pintsize {

struct Packing {
  // (rows, digits) codes below `levels` to (rows, width) bytes.
  void (*pack)(const uint8_t* codes, int64_t rows, int64_t digits, int64_t levels, int64_t width, uint8_t* out);
  void (*unpack)(const uint8_t* packed, int64_t rows, int64_t digits, int64_t levels, int64_t width, uint8_t* out);
};

PINTSIZE_DECLARE(Packing, packing)

}  // namespace pintsize
