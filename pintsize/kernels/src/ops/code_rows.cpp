#include "ops/code_rows.hpp"

#include "ops/lanes.hpp"

namespace pintsize {
namespace {

PINTSIZE_INLINE uint64_t code_at(const uint8_t* record, const uint8_t* end, int64_t index, int64_t bits) {
  const int64_t first = index * bits, shift = first % 8;
  const uint8_t* p = record + first / 8;
  uint64_t value = 0;
  if (__builtin_expect(p + 8 <= end, 1)) {
    std::memcpy(&value, p, 8);
  } else {
    for (int64_t byte = 0; 8 * byte < bits + shift && p + byte < end; ++byte) value |= static_cast<uint64_t>(p[byte]) << (8 * byte);
  }
  return (value >> shift) & ((uint64_t{1} << bits) - 1);
}

template <bool HALF, class Sink>
PINTSIZE_INLINE void word(const uint8_t* p, int64_t width, float* out, const Sink& sink) {
  int64_t c = 0;
  if constexpr (HALF) {
    for (; c + 8 <= width; c += 8) sink(out + c, load_halves(p + 2 * c));
    for (; c < width; ++c) sink(out + c, half_at(p + 2 * c));
  } else {
    for (; c + 8 <= width; c += 8) sink(out + c, load(reinterpret_cast<const float*>(p) + c));
    for (; c < width; ++c) sink(out + c, reinterpret_cast<const float*>(p)[c]);
  }
}

// Codes are whole bytes (BYTES) or strings of bits; codebooks are float32 of FOUR columns, or any.
template <bool BYTES, bool HALF, bool FOUR>
struct Reader {
  const CodebookTable& t;
  const uint8_t* end;
  int64_t book_bytes, word_bytes;

  explicit Reader(const CodebookTable& table)
      : t(table),
        end(table.records + (table.rows - 1) * table.stride + table.record_bytes),
        book_bytes(table.shared_book ? 0 : table.codewords * table.width * (HALF ? 2 : 4)),
        word_bytes(table.width * (HALF ? 2 : 4)) {}

  // False where a code is past its codebook.
  PINTSIZE_INLINE bool row(const uint8_t* record, float* out) const {
    const uint8_t* book = t.books;
    int64_t left = t.columns;
    for (int64_t j = 0; j < t.codes; ++j, book += book_bytes) {
      const uint64_t code = BYTES ? record[j] : code_at(record, end, j, t.bits);
      if (__builtin_expect(code >= static_cast<uint64_t>(t.codewords), 0)) return false;
      const uint8_t* from = book + static_cast<int64_t>(code) * word_bytes;
      if (t.sum) {
        if (j == 0) word<HALF>(from, t.columns, out, Put{});
        else word<HALF>(from, t.columns, out, Add{});
      } else if (FOUR && left >= 4) {
        std::memcpy(out, from, 16);
        out += 4, left -= 4;
      } else {
        const int64_t width = left < t.width ? left : t.width;
        word<HALF>(from, width, out, Put{});
        out += width, left -= width;
      }
    }
    return true;
  }
};

template <class Use>
PINTSIZE_INLINE int64_t with_reader(const CodebookTable& t, const Use& use) {
  if (t.half) return t.bits == 8 ? use(Reader<true, true, false>(t)) : use(Reader<false, true, false>(t));
  if (t.bits != 8) return use(Reader<false, false, false>(t));
  return t.width == 4 ? use(Reader<true, false, true>(t)) : use(Reader<true, false, false>(t));
}

PINTSIZE_INLINE void fetch(const CodebookTable& t, const int64_t* rows, int64_t i, int64_t count) {
  if (t.record_bytes) fetch_ahead(t.records + rows[i + AHEAD < count ? i + AHEAD : count - 1] * t.stride, t.record_bytes);
}

int64_t gather(const CodebookTable& t, const int64_t* rows, int64_t count, float* out) {
  return with_reader(t, [&](const auto& read) {
    for (int64_t i = 0; i < count; ++i) {
      fetch(t, rows, i, count);
      if (!read.row(t.records + rows[i] * t.stride, out + i * t.columns)) return i;
    }
    return int64_t{-1};
  });
}

int64_t bag(const CodebookTable& t, const int64_t* rows, int64_t total, const int64_t* starts, int64_t bags, int64_t first,
            int64_t last, bool mean, const float* weights, float* out, float* line) {
  return with_reader(t, [&](const auto& read) {
    int64_t damaged = -1;
    const Bags of{starts, first, last, bags, total, mean, weights};
    sum_bags(of, t.columns, out, [&](int64_t i, float* sum, const auto& sink) {
      fetch(t, rows, i, total);
      if (read.row(t.records + rows[i] * t.stride, line)) pour(line, t.columns, sum, sink);
      else if (damaged < 0) damaged = i;
    });
    return damaged;
  });
}

}  // namespace

PINTSIZE_TABLE(CodeRows, code_rows) {
  static const CodeRows table{gather, bag};
  return table;
}

}  // namespace pintsize
