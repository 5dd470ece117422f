// Rows read from a file, many reads at a time: through the page cache, which is told ahead what will be read, or past it,
// by io_uring where the kernel has it, else by threads.
#pragma once

#include <cstdint>

namespace pintsize {

// An array of rows in a file.
struct FileRows {
  int plain;      // its descriptor
  int direct;     // another one, opened with O_DIRECT, or -1: reads then pass the page cache by
  int64_t begin;  // where row 0 lies
  int64_t width;  // bytes of a row
};

// What went wrong: a byte of the file, -1 where nothing did, and errno there; 0 where the file has ended.
struct Fault {
  int64_t place = -1;
  int error = 0;
};

// Whether the kernel gives this process a ring.
bool has_ring();

// Writes the rows side by side to `out`. Rows in rising order share reads where they share blocks of the file. At most
// `depth` reads are in flight, into as many buffers.
Fault read_rows(const FileRows& file, const int64_t* rows, int64_t count, uint8_t* out, int depth, bool ring);

}  // namespace pintsize
