// What the memory of this machine can do at best: touch every cache line of given records, and nothing else.
#include <cstdint>

extern "C" uint64_t touch(const uint8_t* records, int64_t stride, int64_t bytes, const int64_t* rows, int64_t count,
                          int64_t ahead) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t next = i + ahead < count ? i + ahead : count - 1;
    const uint8_t* soon = records + rows[next] * stride;
    for (int64_t k = 0; k < bytes; k += 64) __builtin_prefetch(soon + k);
    __builtin_prefetch(soon + bytes - 1);
    const uint8_t* now = records + rows[i] * stride;
    for (int64_t k = 0; k < bytes; k += 64) sum += now[k];
    sum += now[bytes - 1];
  }
  return sum;
}
