// Threads by work: a call too small to gain from them runs where it is.
#pragma once

#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace pintsize {

int threads();              // how many a large call may use
void set_threads(int count);

// f(begin, end) over [0, count), in at most threads() contiguous pieces of at least `grain`.
template <class F>
void parallel_for(int64_t count, int64_t grain, F&& f) {
  const int64_t wanted = grain > 0 ? count / grain : count;
  const int64_t pieces = wanted < threads() ? wanted : threads();
  if (pieces <= 1) {
    f(int64_t{0}, count);
    return;
  }
  std::vector<std::thread> others;
  others.reserve(pieces - 1);
  const int64_t step = (count + pieces - 1) / pieces;
  for (int64_t p = 1; p < pieces; ++p) {
    const int64_t begin = p * step, end = begin + step < count ? begin + step : count;
    if (begin < end) others.emplace_back([&f, begin, end] { f(begin, end); });
  }
  f(int64_t{0}, step);
  for (auto& t : others) t.join();
}

}  // namespace pintsize
