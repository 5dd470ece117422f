#include "ops/scalar_rows.hpp"

#include "ops/digits.hpp"
#include "ops/rotate.hpp"

namespace pintsize {
namespace {

constexpr int64_t ROTATED_AT_ONCE = 16;

int64_t signs_bytes(const ScalarTable& t) { return t.signs ? 4 * t.rounds * t.columns : 0; }

int64_t scratch_bytes(const ScalarTable& t) { return signs_bytes(t) + 4 * t.columns + t.digits; }

PINTSIZE_INLINE void fetch(const ScalarTable& t, const int64_t* rows, int64_t i, int64_t total) {
  fetch_ahead(t.records + rows[i + AHEAD < total ? i + AHEAD : total - 1] * t.stride, t.record_bytes);
}

#ifdef PINTSIZE_AVX2

template <int N>
struct Width {
  constexpr operator int() const { return N; }
};

constexpr int MAX_GRID_DIGITS = 4;

// Where the digits lie that hold a row's place on the grid: the same in every record.
struct Place {
  int64_t byte, shift;
};

struct Grid {
  Place places[MAX_GRID_DIGITS];
  int count = 0;

  template <int BITS>
  PINTSIZE_INLINE static Grid of(const ScalarTable& t) {
    Grid grid;
    constexpr int64_t wide = BLOCK * PER_BYTE<BITS>;
    for (int64_t index = t.columns; t.grid && index < t.digits; ++index) {
      const int64_t block = index / wide, inside = index % wide, rest = t.digits - block * wide;
      const int64_t width = rest >= wide ? BLOCK : (rest + PER_BYTE<BITS> - 1) / PER_BYTE<BITS>;
      grid.places[grid.count++] = {block * BLOCK + inside % width, inside / width};
    }
    return grid;
  }

  template <int BITS>
  PINTSIZE_INLINE float scale(const uint8_t* record, const float* entries) const {
    constexpr int64_t base = BITS ? 1 << BITS : 3;
    int64_t entry = 0;
    for (int k = count; k-- > 0;) {
      unsigned digit = record[places[k].byte];
      if constexpr (BITS == 0) {
        for (int64_t g = places[k].shift; g > 0; --g) digit = digit * 3 & 255u;
        digit = digit * 3 >> 8;
      } else {
        digit = (digit >> (places[k].shift * BITS)) & (base - 1);
      }
      entry = entry * base + digit;
    }
    return entries[entry];
  }
};

// One scale a row and one plane of digits: what nearly every table has.
template <int BITS, bool OFFSET>
struct Simple {
  const ScalarTable& t;
  const uint8_t* end;
  Grid grid;

  explicit Simple(const ScalarTable& table)
      : t(table), end(table.records + (table.rows - 1) * table.stride + table.record_bytes), grid(Grid::of<BITS>(table)) {}

  // The `columns` values from column `start` on, the codes up to which fill whole blocks.
  template <class Sink>
  PINTSIZE_INLINE void part(const uint8_t* record, int64_t start, int64_t columns, float* out, const Sink& sink) const {
    Affine<OFFSET> affine{t.unit, t.bias};
    if (t.half_scales) affine.scale = half_at(record + t.code_bytes) * t.unit;
    else if (t.grid) affine.scale = grid.template scale<BITS>(record, t.grid) * t.unit;
    if constexpr (OFFSET) affine.shift = half_at(record + t.code_bytes + 2) * t.unit;
    decode<BITS>(record + start / PER_BYTE<BITS>, end, t.digits - start, columns, out, Values<BITS, OFFSET>(affine), sink);
  }

  template <class Sink>
  PINTSIZE_INLINE void row(const uint8_t* record, float* out, const Sink& sink) const {
    part(record, 0, t.columns, out, sink);
  }

  PINTSIZE_INLINE bool bag(const int64_t* rows, const Bags& of, float* out) const {
    const auto sum = [&](auto width, int64_t start) {
      sum_bags_in_registers<width>(of, t.columns, start, out, [&](int64_t i, float* into, const auto& sink) {
        if (start == 0) fetch(t, rows, i, of.total);
        part(t.records + rows[i] * t.stride, start, width, into, sink);
      });
    };
    constexpr int64_t wide = BLOCK * PER_BYTE<BITS>;
    if (t.columns == 32) {
      sum(Width<32>{}, 0);
    } else if (t.columns == 64 || (t.columns % 64 == 0 && 64 % wide == 0)) {
      for (int64_t start = 0; start < t.columns; start += 64) sum(Width<64>{}, start);
    } else {
      return false;
    }
    return true;
  }
};

#endif

// Any table. Without AVX2 this is also the fastest way: compilers vectorize its two steps, and not the one of Simple.
struct General {
  const ScalarTable& t;
  float* line;
  uint8_t* codes;

  template <class Sink>
  PINTSIZE_INLINE void row(const uint8_t* record, float* out, const Sink& sink) const {
    unpack_row(record, t.digits, static_cast<int>(t.levels), codes);
    if (!t.half_scales) {
      const float scale = t.grid ? t.grid[entry()] * t.unit : t.unit;
      values(0, t.columns, Affine<false>{scale, t.bias});
    } else {
      const uint8_t* scales = record + t.code_bytes;
      const int64_t groups = (t.columns + t.group - 1) / t.group;
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = g * t.group, left = t.columns - begin, count = left < t.group ? left : t.group;
        const float scale = half_at(scales + 2 * g) * t.unit;
        if (t.offset) values(begin, count, Affine<true>{scale, half_at(scales + 2 * (groups + g)) * t.unit});
        else values(begin, count, Affine<false>{scale, t.bias});
      }
    }
    pour(line, t.columns, out, sink);
  }

  PINTSIZE_INLINE bool bag(const int64_t*, const Bags&, float*) const { return false; }

  template <class Value>
  PINTSIZE_INLINE void values(int64_t begin, int64_t count, Value value) const {
    float* __restrict to = line + begin;
    const uint8_t* __restrict from = codes + begin;
    int64_t c = 0;
#ifdef PINTSIZE_AVX2
    for (; c + 8 <= count; c += 8) store(to + c, value(to_floats(widen(from + c))));
#endif
    for (; c < count; ++c) to[c] = value(static_cast<float>(from[c]));
  }

  PINTSIZE_INLINE int64_t entry() const {
    int64_t entry = 0;
    for (int64_t index = t.digits; index-- > t.columns;) entry = entry * t.levels + codes[index];
    return entry;
  }
};

template <class Reader>
PINTSIZE_INLINE void gather_with(const Reader& read, const ScalarTable& t, const int64_t* rows, int64_t count, float* out,
                                 const float* signs) {
  const int64_t step = t.signs ? ROTATED_AT_ONCE : count;
  for (int64_t begin = 0; begin < count; begin += step) {
    const int64_t end = begin + step < count ? begin + step : count;
    for (int64_t i = begin; i < end; ++i) {
      fetch(t, rows, i, count);
      read.row(t.records + rows[i] * t.stride, out + i * t.columns, Put{});
    }
    if (t.signs) PINTSIZE_OURS(rotate).back(out + begin * t.columns, end - begin, t.columns, signs, t.rounds);
  }
}

template <class Reader>
PINTSIZE_INLINE void bag_with(const Reader& read, const ScalarTable& t, const int64_t* rows, const Bags& of, float* out,
                              const float* signs) {
  if (!read.bag(rows, of, out)) {
    sum_bags(of, t.columns, out, [&](int64_t i, float* sum, const auto& sink) {
      fetch(t, rows, i, of.total);
      read.row(t.records + rows[i] * t.stride, sum, sink);
    });
  }
  // A rotation is linear: it is undone once a bag.
  if (t.signs) PINTSIZE_OURS(rotate).back(out + of.first * t.columns, of.last - of.first, t.columns, signs, t.rounds);
}

// use(reader) with the reader of this table.
template <class Use>
PINTSIZE_INLINE void with_reader(const ScalarTable& t, void* scratch, const Use& use) {
  char* memory = static_cast<char*>(scratch);
  float* signs = reinterpret_cast<float*>(memory);
  if (t.signs) PINTSIZE_OURS(rotate).signs(t.signs, t.rounds, t.columns, signs);
#ifdef PINTSIZE_AVX2
  if (t.group >= t.columns) {
    switch (t.levels) {
#define PINTSIZE_CASE(LEVELS, BITS)                                     \
  case LEVELS:                                                          \
    if (t.offset) return use(Simple<BITS, true>(t), signs);             \
    return use(Simple<BITS, false>(t), signs);
      PINTSIZE_CASE(2, 1)
      PINTSIZE_CASE(3, 0)
      PINTSIZE_CASE(4, 2)
      PINTSIZE_CASE(16, 4)
      PINTSIZE_CASE(256, 8)
#undef PINTSIZE_CASE
      default: break;
    }
  }
#endif
  memory += signs_bytes(t);
  use(General{t, reinterpret_cast<float*>(memory), reinterpret_cast<uint8_t*>(memory + 4 * t.columns)}, signs);
}

void gather(const ScalarTable& t, const int64_t* rows, int64_t count, float* out, void* scratch) {
  if (count == 0) return;
  with_reader(t, scratch, [&](const auto& read, const float* signs) { gather_with(read, t, rows, count, out, signs); });
}

void bag(const ScalarTable& t, const int64_t* rows, int64_t total, const int64_t* starts, int64_t bags, int64_t first,
         int64_t last, bool mean, const float* weights, float* out, void* scratch) {
  with_reader(t, scratch, [&](const auto& read, const float* signs) {
    bag_with(read, t, rows, Bags{starts, first, last, bags, total, mean, weights}, out, signs);
  });
}

}  // namespace

PINTSIZE_TABLE(ScalarRows, scalar_rows) {
  static const ScalarRows table{scratch_bytes, gather, bag};
  return table;
}

}  // namespace pintsize
