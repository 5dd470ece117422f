#include "ops/partition.hpp"

#include "ops/lanes.hpp"

namespace pintsize {
namespace {

constexpr int64_t RANK_BLOCK = 256;
typedef uint8_t B16 __attribute__((vector_size(16)));
typedef int8_t M16 __attribute__((vector_size(16)));

// How many of `count` (at most 255) bytes are `value`.
PINTSIZE_INLINE int64_t count_of(const uint8_t* bytes, int64_t count, uint8_t value) {
  M16 negative{};
  int64_t k = 0;
  for (; k + 16 <= count; k += 16) {
    B16 b;
    std::memcpy(&b, bytes + k, 16);
    negative += (M16)(b == value);
  }
  int64_t found = 0;
  for (int i = 0; i < 16; ++i) found -= negative[i];
  for (; k < count; ++k) found += bytes[k] == value;
  return found;
}

int locate(const PartitionMap& map, const int64_t* rows, int64_t count, uint8_t* part, int64_t* place) {
  int outside = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t ahead = rows[i + AHEAD < count ? i + AHEAD : count - 1], row = rows[i];
    const int64_t block = row / RANK_BLOCK, item = map.wide ? 8 : 4;
    fetch_ahead(map.part + ahead / RANK_BLOCK * RANK_BLOCK, ahead % RANK_BLOCK + 1);
    __builtin_prefetch(map.before + ahead / RANK_BLOCK * map.parts * item);
    const uint8_t p = map.part[row];
    if (p >= map.parts) return 1;
    const uint8_t* stored = map.before + (block * map.parts + p) * item;
    int64_t before;
    if (map.wide) {
      std::memcpy(&before, stored, 8);
    } else {
      int32_t narrow;
      std::memcpy(&narrow, stored, 4);
      before = narrow;
    }
    const int64_t inside = count_of(map.part + block * RANK_BLOCK, row % RANK_BLOCK, p);
    outside |= before < 0 || before >= map.sizes[p] - inside;
    part[i] = p;
    place[i] = before + (outside ? 0 : inside);
  }
  return outside ? 2 : 0;
}

void group(const uint8_t* part, const int64_t* place, int64_t count, int64_t parts, int64_t* begins, int64_t* stood,
           int64_t* sorted) {
  int64_t next[257] = {};
  for (int64_t i = 0; i < count; ++i) ++next[part[i] + 1];
  for (int64_t p = 0; p < parts; ++p) next[p + 1] += next[p];
  std::memcpy(begins, next, sizeof(int64_t) * static_cast<size_t>(parts + 1));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t to = next[part[i]]++;
    stood[to] = i;
    sorted[to] = place[i];
  }
}

}  // namespace

PINTSIZE_TABLE(Partition, partition) {
  static const Partition table{locate, group};
  return table;
}

}  // namespace pintsize
