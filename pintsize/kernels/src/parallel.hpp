// Threads by work: a call too small to gain from them runs where it is.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace pintsize {

int threads();              // how many a large call may use
void set_threads(int count);

// Rows of this many values each that are worth a thread of their own: starting one costs tens of microseconds.
inline int64_t grain_for(int64_t values_a_row) { return std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, values_a_row)); }

// f(begin, end) over [0, count), in at most threads() contiguous pieces of at least `grain`. What a piece throws is
// thrown here, after all pieces have ended.
template <class F>
void parallel_for(int64_t count, int64_t grain, F&& f) {
  const int64_t wanted = grain > 0 ? count / grain : count;
  const int64_t pieces = std::min<int64_t>(wanted, threads());
  if (pieces <= 1) {
    f(int64_t{0}, count);
    return;
  }
  const int64_t step = (count + pieces - 1) / pieces;
  std::vector<std::exception_ptr> failures(pieces);
  auto piece = [&](int64_t p) {
    try {
      const int64_t begin = p * step, end = std::min(begin + step, count);
      if (begin < end) f(begin, end);
    } catch (...) {
      failures[p] = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(pieces - 1);
  int64_t started = 1;
  try {
    for (; started < pieces; ++started) others.emplace_back(piece, started);
  } catch (const std::system_error&) {
    // No more threads to be had: the rest of the pieces run here.
  }
  piece(0);
  for (int64_t p = started; p < pieces; ++p) piece(p);
  for (auto& t : others) t.join();
  for (auto& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

// f(first_bag, last_bag) over all bags, in pieces of about equally many rows. `starts` never falls.
template <class F>
void parallel_bags(const int64_t* starts, int64_t bags, int64_t rows, int64_t grain, F&& f) {
  const int64_t pieces = std::max<int64_t>(1, std::min<int64_t>({rows / std::max<int64_t>(1, grain), threads(), bags}));
  const int64_t step = (rows + pieces - 1) / pieces;
  auto first = [&](int64_t p) {
    return p == 0 ? 0 : p == pieces ? bags : std::lower_bound(starts, starts + bags, p * step) - starts;
  };
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    if (first(begin) < first(end)) f(first(begin), first(end));
  });
}

// The least of the positions that the pieces of a call report, -1 standing for none.
class First {
 public:
  void report(int64_t position) {
    int64_t before = least_.load();
    while (position >= 0 && position < before && !least_.compare_exchange_weak(before, position)) {
    }
  }
  int64_t get() const { return least_ == INT64_MAX ? -1 : least_.load(); }

 private:
  std::atomic<int64_t> least_{INT64_MAX};
};

}  // namespace pintsize
