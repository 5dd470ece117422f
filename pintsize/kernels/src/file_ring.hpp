// The two queues that io_uring shares with the kernel, and no more of it than reading takes.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__) && __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

// IORING_OP_READ came with Linux 5.6, as this flag did; headers from before cannot say it.
#ifdef IORING_FEAT_RW_CUR_POS
#define PINTSIZE_RING
#endif
#endif

namespace pintsize {

#ifdef PINTSIZE_RING

class FileRing {
 public:
  explicit FileRing(unsigned depth) {
    // Completions are then worked off when this thread asks for them, without interrupts between processors (6.1).
#ifdef IORING_SETUP_DEFER_TASKRUN
    open(depth, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
#endif
    if (fd_ < 0) open(depth, 0);
    if (fd_ >= 0 && !map()) close();
  }
  ~FileRing() {
    if (entries_) munmap(entries_, entries_bytes_);
    if (queues_) munmap(queues_, queues_bytes_);
    close();
  }
  FileRing(const FileRing&) = delete;
  FileRing& operator=(const FileRing&) = delete;

  explicit operator bool() const { return fd_ >= 0; }

  // Never more between two waits than the ring is deep.
  void add(int file, void* to, unsigned length, int64_t from, uint64_t name) {
    const unsigned tail = *tail_, slot = tail & mask_;
    io_uring_sqe& entry = entries_[slot];
    entry = io_uring_sqe{};
    entry.opcode = IORING_OP_READ;
    entry.fd = file;
    entry.addr = reinterpret_cast<uint64_t>(to);
    entry.len = length;
    entry.off = static_cast<uint64_t>(from);
    entry.user_data = name;
    order_[slot] = slot;
    __atomic_store_n(tail_, tail + 1, __ATOMIC_RELEASE);
    ++added_;
  }

  // Hands over what was added and waits until `wanted` reads have ended. False: the kernel took nothing this time.
  bool wait(unsigned wanted) {
    for (;;) {
      const long taken = syscall(__NR_io_uring_enter, fd_, added_, wanted, IORING_ENTER_GETEVENTS, nullptr, 0);
      if (taken >= 0) {
        added_ -= static_cast<unsigned>(taken);
        return true;
      }
      if (errno != EINTR) return false;
    }
  }

  // Reads added that the kernel has not taken.
  unsigned untaken() const { return added_; }

  // f(name, result) for each read that has ended.
  template <class F>
  void ended(F&& f) {
    unsigned head = *head_;
    const unsigned end = __atomic_load_n(end_, __ATOMIC_ACQUIRE);
    for (; head != end; ++head) f(results_[head & results_mask_].user_data, results_[head & results_mask_].res);
    __atomic_store_n(head_, head, __ATOMIC_RELEASE);
  }

 private:
  void open(unsigned depth, unsigned flags) {
    about_ = io_uring_params{};
    about_.flags = flags;
    fd_ = static_cast<int>(syscall(__NR_io_uring_setup, depth, &about_));
    if (fd_ >= 0 && !(about_.features & IORING_FEAT_RW_CUR_POS && about_.features & IORING_FEAT_SINGLE_MMAP)) close();
  }

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  bool map() {
    queues_bytes_ = std::max<size_t>(about_.sq_off.array + about_.sq_entries * sizeof(unsigned),
                                     about_.cq_off.cqes + about_.cq_entries * sizeof(io_uring_cqe));
    entries_bytes_ = about_.sq_entries * sizeof(io_uring_sqe);
    queues_ = static_cast<char*>(shared(queues_bytes_, IORING_OFF_SQ_RING));
    entries_ = static_cast<io_uring_sqe*>(shared(entries_bytes_, IORING_OFF_SQES));
    if (!queues_ || !entries_) return false;
    auto number = [&](unsigned offset) { return reinterpret_cast<unsigned*>(queues_ + offset); };
    tail_ = number(about_.sq_off.tail);
    order_ = number(about_.sq_off.array);
    mask_ = *number(about_.sq_off.ring_mask);
    head_ = number(about_.cq_off.head);
    end_ = number(about_.cq_off.tail);
    results_mask_ = *number(about_.cq_off.ring_mask);
    results_ = reinterpret_cast<io_uring_cqe*>(queues_ + about_.cq_off.cqes);
    return true;
  }

  void* shared(size_t bytes, int64_t offset) {
    void* found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, offset);
    return found == MAP_FAILED ? nullptr : found;
  }

  int fd_ = -1;
  io_uring_params about_{};
  char* queues_ = nullptr;
  io_uring_sqe* entries_ = nullptr;
  size_t queues_bytes_ = 0, entries_bytes_ = 0;
  unsigned *tail_ = nullptr, *order_ = nullptr, *head_ = nullptr, *end_ = nullptr;
  unsigned mask_ = 0, results_mask_ = 0, added_ = 0;
  io_uring_cqe* results_ = nullptr;
};

#endif

}  // namespace pintsize
