#include "ops/dense_rows.hpp"

#include "ops/lanes.hpp"

namespace pintsize {
namespace {

template <Floats KIND>
PINTSIZE_INLINE float one(const uint8_t* p) {
  if constexpr (KIND == Floats::float32) {
    float x;
    std::memcpy(&x, p, 4);
    return x;
  } else if constexpr (KIND == Floats::float16) {
    return half_at(p);
  } else {
    uint16_t upper;
    std::memcpy(&upper, p, 2);
    return from_bits(static_cast<uint32_t>(upper) << 16);
  }
}

template <Floats KIND>
PINTSIZE_INLINE F8 eight(const uint8_t* p) {
  if constexpr (KIND == Floats::float32) {
    F8 v;
    std::memcpy(&v, p, sizeof v);
    return v;
  } else if constexpr (KIND == Floats::float16) {
    return load_halves(p);
  } else {
    typedef uint16_t H8 __attribute__((vector_size(16)));
    H8 upper;
    std::memcpy(&upper, p, sizeof upper);
    return (F8)(__builtin_convertvector(upper, I8) << 16);
  }
}

template <Floats KIND, class Sink>
PINTSIZE_INLINE void row(const uint8_t* p, int64_t columns, float* out, const Sink& sink) {
  constexpr int64_t item = KIND == Floats::float32 ? 4 : 2;
  each_column(
      columns, [&](int64_t c) { sink(out + c, eight<KIND>(p + c * item)); },
      [&](int64_t c) { sink(out + c, one<KIND>(p + c * item)); });
}

int64_t row_bytes(const DenseTable& t) { return t.columns * (t.kind == Floats::float32 ? 4 : 2); }

template <Floats KIND>
void gather_kind(const DenseTable& t, const int64_t* rows, int64_t count, float* out) {
  const int64_t bytes = row_bytes(t);
  for (int64_t i = 0; i < count; ++i) {
    fetch_ahead(t.values + rows[i + AHEAD < count ? i + AHEAD : count - 1] * t.stride, bytes);
    row<KIND>(t.values + rows[i] * t.stride, t.columns, out + i * t.columns, Put{});
  }
}

template <Floats KIND>
void bag_kind(const DenseTable& t, const int64_t* rows, const Bags& of, float* out) {
  const int64_t bytes = row_bytes(t), item = KIND == Floats::float32 ? 4 : 2;
  const auto start_of = [&](int64_t i, bool fetch) {
    if (rows && fetch) fetch_ahead(t.values + rows[i + AHEAD < of.total ? i + AHEAD : of.total - 1] * t.stride, bytes);
    return t.values + (rows ? rows[i] : i) * t.stride;
  };
  if (t.columns % 32) {
    sum_bags(of, t.columns, out, [&](int64_t i, float* sum, const auto& sink) {
      row<KIND>(start_of(i, true), t.columns, sum, sink);
    });
    return;
  }
  int64_t c = 0;
  for (; c + 64 <= t.columns; c += 64) {
    sum_bags_in_registers<64>(of, t.columns, c, out, [&](int64_t i, float* sum, const auto& sink) {
      row<KIND>(start_of(i, c == 0) + c * item, 64, sum, sink);
    });
  }
  if (c < t.columns) {
    sum_bags_in_registers<32>(of, t.columns, c, out, [&](int64_t i, float* sum, const auto& sink) {
      row<KIND>(start_of(i, c == 0) + c * item, 32, sum, sink);
    });
  }
}

void gather(const DenseTable& t, const int64_t* rows, int64_t count, float* out) {
  switch (t.kind) {
    case Floats::float32: return gather_kind<Floats::float32>(t, rows, count, out);
    case Floats::float16: return gather_kind<Floats::float16>(t, rows, count, out);
    default: return gather_kind<Floats::bfloat16>(t, rows, count, out);
  }
}

void bag(const DenseTable& t, const int64_t* rows, int64_t total, const int64_t* starts, int64_t bags, int64_t first,
         int64_t last, bool mean, const float* weights, float* out) {
  const Bags of{starts, first, last, bags, total, mean, weights};
  switch (t.kind) {
    case Floats::float32: return bag_kind<Floats::float32>(t, rows, of, out);
    case Floats::float16: return bag_kind<Floats::float16>(t, rows, of, out);
    default: return bag_kind<Floats::bfloat16>(t, rows, of, out);
  }
}

void scatter(const float* from, int64_t columns, const int64_t* places, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(out + places[i] * columns, from + i * columns, sizeof(float) * static_cast<size_t>(columns));
}

}  // namespace

PINTSIZE_TABLE(DenseRows, dense_rows) {
  static const DenseRows table{gather, bag, scatter};
  return table;
}

}  // namespace pintsize
