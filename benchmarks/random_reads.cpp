// What the machine gives: random reads of 4 KiB past the page cache, with nothing done to what was read. A reader of its
// own for benchmarks/out_of_core.py, which shares no code with what it is held against.
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr int64_t page = 4096;

bool by_threads(int file, const int64_t* pages, int64_t count, int depth, char* memory) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> good{true};
  std::vector<std::thread> readers;
  for (int slot = 0; slot < depth; ++slot)
    readers.emplace_back([&, slot] {
      for (int64_t i = next++; i < count; i = next++)
        if (pread(file, memory + slot * page, page, pages[i] * page) != page) good = false;
    });
  for (auto& reader : readers) reader.join();
  return good;
}

// Waits for `wanted` reads at a time, of a ring with these flags.
bool by_ring(int file, const int64_t* pages, int64_t count, int depth, char* memory, unsigned wanted, unsigned flags) {
  io_uring_params about{};
  about.flags = flags;
  const int ring = static_cast<int>(syscall(__NR_io_uring_setup, depth, &about));
  if (ring < 0) return false;
  const size_t bytes = std::max<size_t>(about.sq_off.array + about.sq_entries * sizeof(unsigned),
                                        about.cq_off.cqes + about.cq_entries * sizeof(io_uring_cqe));
  const size_t entries_bytes = about.sq_entries * sizeof(io_uring_sqe);
  auto map = [&](size_t size, off_t at) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, at);
  };
  char* queues = static_cast<char*>(map(bytes, IORING_OFF_SQ_RING));
  auto* entries = static_cast<io_uring_sqe*>(map(entries_bytes, IORING_OFF_SQES));
  auto number = [&](unsigned at) { return reinterpret_cast<unsigned*>(queues + at); };
  auto* results = reinterpret_cast<io_uring_cqe*>(queues + about.cq_off.cqes);
  unsigned *tail = number(about.sq_off.tail), *order = number(about.sq_off.array), *head = number(about.cq_off.head);
  const unsigned *end = number(about.cq_off.tail), mask = *number(about.sq_off.ring_mask),
                 results_mask = *number(about.cq_off.ring_mask);
  std::vector<int> idle;
  for (int slot = depth; slot-- > 0;) idle.push_back(slot);
  bool good = true;
  unsigned added = 0, flying = 0;
  for (int64_t next = 0; good && (next < count || flying);) {
    for (; !idle.empty() && next < count; ++next, ++added, ++flying) {
      const int slot = idle.back();
      idle.pop_back();
      io_uring_sqe& entry = entries[*tail & mask];
      entry = {};
      entry.opcode = IORING_OP_READ;
      entry.fd = file;
      entry.addr = reinterpret_cast<uint64_t>(memory + slot * page);
      entry.len = page;
      entry.off = pages[next] * page;
      entry.user_data = slot;
      order[*tail & mask] = *tail & mask;
      __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    }
    const long taken = syscall(__NR_io_uring_enter, ring, added, std::min(wanted, flying), IORING_ENTER_GETEVENTS, nullptr, 0);
    if (taken >= 0) added -= taken;
    good = taken >= 0 || errno == EINTR;
    unsigned from = *head;
    for (const unsigned to = __atomic_load_n(end, __ATOMIC_ACQUIRE); from != to; ++from, --flying) {
      good = good && results[from & results_mask].res == page;
      idle.push_back(static_cast<int>(results[from & results_mask].user_data));
    }
    __atomic_store_n(head, from, __ATOMIC_RELEASE);
  }
  munmap(queues, bytes);
  munmap(entries, entries_bytes);
  close(ring);
  return good;
}

}  // namespace

// Seconds for these pages of a file at this many reads in flight, or -1 where it cannot be measured. By 0: threads; 1: a
// plain ring; 2: a ring whose completions are worked off in batches.
extern "C" double random_reads(const char* path, const int64_t* pages, int64_t count, int depth, int by) {
  const int file = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  char* memory = static_cast<char*>(std::aligned_alloc(page, depth * page));
  if (file < 0 || !memory) return -1;
  const auto begun = std::chrono::steady_clock::now();
  const bool good = by == 0   ? by_threads(file, pages, count, depth, memory)
                    : by == 1 ? by_ring(file, pages, count, depth, memory, 1, 0)
                              : by_ring(file, pages, count, depth, memory, std::max(1, depth / 4),
                                        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  std::free(memory);
  close(file);
  return good ? seconds : -1;
}
