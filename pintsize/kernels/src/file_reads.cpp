#include "file_reads.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "file_ring.hpp"

namespace pintsize {
namespace {

// O_DIRECT wants offsets, lengths and memory in whole blocks of the device; none in use has larger ones.
constexpr int64_t block = 4096;
constexpr int64_t most_memory = int64_t{64} << 20;

int64_t blocks_down(int64_t at) { return at & ~(block - 1); }
int64_t blocks_up(int64_t at) { return blocks_down(at + block - 1); }

// One read: rows first..last - 1 of the list, in bytes from..to of the file.
struct Span {
  int64_t first, last, from, to;
};

class Reading {
 public:
  Reading(const FileRows& file, const int64_t* rows, int64_t count, uint8_t* out, int depth)
      : file_(file), rows_(rows), count_(count), out_(out), room_(blocks_up(file.width + block - 1)) {
    const int64_t most = std::max<int64_t>(1, std::min(count, most_memory / room_));
    depth_ = static_cast<int>(std::clamp<int64_t>(depth, 1, most));
    memory_.reset(static_cast<uint8_t*>(std::aligned_alloc(block, static_cast<size_t>(depth_ * room_))));
    if (!memory_) throw std::bad_alloc();
  }

#ifdef POSIX_FADV_WILLNEED
  // The page cache begins to read `depth` spans ahead of the one that is waited for.
  void by_page_cache() {
    std::vector<Span> spans(depth_);
    int64_t begun = 0, ended = 0;
    for (;;) {
      while (begun - ended < depth_ && taken(spans[begun % depth_])) {
        const Span& span = spans[begun++ % depth_];
        posix_fadvise(file_.plain, start(span), length(span), POSIX_FADV_WILLNEED);
      }
      if (begun == ended) return;
      const int slot = static_cast<int>(ended++ % depth_);
      finish(spans[slot], slot, 0);
    }
  }
#endif

  void by_threads() {
    auto work = [this](int slot) {
      Span span;
      while (taken(span)) {
        ssize_t got;
        do got = pread(descriptor(), memory(slot), length(span), start(span));
        while (got < 0 && errno == EINTR);
        finish(span, slot, got);
      }
    };
    std::vector<std::thread> others;
    others.reserve(depth_);
    try {
      for (int slot = 1; slot < depth_; ++slot) others.emplace_back(work, slot);
    } catch (const std::system_error&) {
      // No more threads to be had: those that there are read it all.
    }
    work(0);
    for (auto& thread : others) thread.join();
  }

#ifdef PINTSIZE_RING
  // False: no ring; nothing was read.
  bool by_ring() {
    FileRing ring(static_cast<unsigned>(depth_));
    if (!ring) return false;
    std::vector<Span> spans(depth_);
    std::vector<int> idle(depth_);
    for (int slot = 0; slot < depth_; ++slot) idle[slot] = slot;
    std::vector<bool> busy(depth_);
    unsigned flying = 0;
    // Waiting for several at a time saves calls, and hands the device several at a time in turn.
    const unsigned wanted = std::max(1, depth_ / 4);
    for (;;) {
      while (!idle.empty()) {
        const int slot = idle.back();
        if (!taken(spans[slot])) break;
        idle.pop_back();
        busy[slot] = true;
        ring.add(descriptor(), memory(slot), static_cast<unsigned>(length(spans[slot])), start(spans[slot]), slot);
        ++flying;
      }
      if (!flying) return true;
      const bool went = ring.wait(std::min(wanted, flying));
      bool moved = false;
      ring.ended([&](uint64_t slot, int got) {
        finish(spans[slot], static_cast<int>(slot), got);
        busy[slot] = false;
        idle.push_back(static_cast<int>(slot));
        --flying;
        moved = true;
      });
      if (went || moved || ring.untaken() < flying) continue;
      // The kernel takes no more reads, and none is in its hands: what was added is read plainly, and so is the rest.
      for (int slot = 0; slot < depth_; ++slot)
        if (busy[slot]) finish(spans[slot], slot, 0);
      by_threads();
      return true;
    }
  }
#endif

  Fault fault() const { return fault_; }

 private:
  int descriptor() const { return file_.direct >= 0 ? file_.direct : file_.plain; }
  uint8_t* memory(int slot) { return memory_.get() + slot * room_; }
  int64_t place(int64_t index) const { return file_.begin + rows_[index] * file_.width; }
  int64_t start(const Span& span) const { return file_.direct >= 0 ? blocks_down(span.from) : span.from; }
  int64_t length(const Span& span) const {
    return (file_.direct >= 0 ? blocks_up(span.to) : span.to) - start(span);
  }

  // The next span: rows that lie in blocks which are read anyway come with the first. False: none is left to read.
  bool taken(Span& span) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (next_ >= count_ || fault_.place >= 0) return false;
    const int64_t from = place(next_), reach = blocks_up(from + file_.width);
    int64_t last = next_ + 1;
    while (last < count_ && rows_[last] >= rows_[last - 1] && place(last) + file_.width <= reach) ++last;
    span = {next_, last, from, place(last - 1) + file_.width};
    next_ = last;
    return true;
  }

  // Puts the rows of a span in their places, of which `got` bytes have come. What failed or came short is read again
  // plainly: the answer of pread is the one that counts.
  void finish(const Span& span, int slot, int64_t got) {
    uint8_t* data = memory(slot);
    const int64_t begin = start(span), needed = span.to - begin;
    for (got = std::max<int64_t>(got, 0); got < needed;) {
      const ssize_t more = pread(file_.plain, data + got, needed - got, begin + got);
      if (more < 0 && errno == EINTR) continue;
      if (more <= 0) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (fault_.place < 0) fault_ = {begin + got, more < 0 ? errno : 0};
        return;
      }
      got += more;
    }
    for (int64_t i = span.first; i < span.last; ++i)
      std::memcpy(out_ + i * file_.width, data + (place(i) - begin), file_.width);
  }

  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };

  const FileRows file_;
  const int64_t* rows_;
  const int64_t count_;
  uint8_t* out_;
  const int64_t room_;
  int depth_;
  std::unique_ptr<uint8_t[], Free> memory_;
  std::mutex mutex_;
  int64_t next_ = 0;
  Fault fault_;
};

}  // namespace

bool has_ring() {
#ifdef PINTSIZE_RING
  return static_cast<bool>(FileRing(1));
#else
  return false;
#endif
}

Fault read_rows(const FileRows& file, const int64_t* rows, int64_t count, uint8_t* out, int depth, bool ring) {
  if (count == 0 || file.width == 0) return {};
  Reading reading(file, rows, count, out, depth);
#ifdef POSIX_FADV_WILLNEED
  if (file.direct < 0) {
    reading.by_page_cache();
    return reading.fault();
  }
#endif
#ifdef PINTSIZE_RING
  if (ring && reading.by_ring()) return reading.fault();
#else
  static_cast<void>(ring);
#endif
  reading.by_threads();
  return reading.fault();
}

}  // namespace pintsize
