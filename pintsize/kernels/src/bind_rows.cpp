#include "bindings.hpp"
#include "ops/check.hpp"
#include "ops/rotate.hpp"
#include "ops/scalar_rows.hpp"
#include "parallel.hpp"

namespace pintsize {
namespace {

// As `ScalarTable._layout` of formats/scalar.py lists it.
ScalarTable scalar_table(nb::tuple layout) {
  Fields next(layout, 16);
  ScalarTable t{};
  t.records = next.array<const uint8_t>();
  t.rows = next.integer();
  t.stride = next.integer();
  t.record_bytes = next.integer();
  t.code_bytes = next.integer();
  t.digits = next.integer();
  t.columns = next.integer();
  t.levels = next.integer();
  t.group = next.integer();
  t.half_scales = next.integer() != 0;
  t.offset = next.integer() != 0;
  t.bias = next.real();
  t.unit = next.real();
  t.grid = next.array<const float>();
  t.signs = next.array<const uint8_t>();
  t.rounds = next.integer();
  return t;
}

void scalar_gather(const ScalarTable& table, Address rows, int64_t count, Address out) {
  nb::gil_scoped_release release;
  const ScalarRows& op = scalar_rows();
  parallel_for(count, grain_for(table.columns), [&](int64_t begin, int64_t end) {
    const Scratch scratch = scratch_of(op.scratch(table));
    op.gather(table, at<const int64_t>(rows) + begin, end - begin, at<float>(out) + begin * table.columns, scratch.get());
  });
}

// A look-up with its own check of the rows: the place of the first one out of range, before anything is written, or -1.
int64_t scalar_lookup(const ScalarTable& table, Address rows, int64_t count, Address out) {
  {
    nb::gil_scoped_release release;
    const int64_t bad = check().outside(at<const int64_t>(rows), count, table.rows);
    if (bad >= 0) return bad;
  }
  scalar_gather(table, rows, count, out);
  return -1;
}

void scalar_bag(const ScalarTable& table, Address rows, int64_t total, Address starts, int64_t bags, bool mean, Address weights,
                Address out) {
  nb::gil_scoped_release release;
  const ScalarRows& op = scalar_rows();
  const int64_t* begins = at<const int64_t>(starts);
  parallel_bags(begins, bags, total, grain_for(table.columns), [&](int64_t first, int64_t last) {
    const Scratch scratch = scratch_of(op.scratch(table));
    op.bag(table, at<const int64_t>(rows), total, begins, bags, first, last, mean, at<const float>(weights),
           at<float>(out), scratch.get());
  });
}

void rotate_rows(Address rows, int64_t count, int64_t columns, Address packed, int64_t rounds, bool backward) {
  nb::gil_scoped_release release;
  const Rotate& op = rotate();
  const Scratch signs = scratch_of(4 * rounds * columns);
  op.signs(at<const uint8_t>(packed), rounds, columns, signs.get());
  parallel_for(count, grain_for(columns * rounds), [&](int64_t begin, int64_t end) {
    (backward ? op.back : op.forward)(at<float>(rows) + begin * columns, end - begin, columns, signs.get(), rounds);
  });
}

}  // namespace

void bind_rows(nb::module_& m) {
  m.def("rotate_rows", rotate_rows);
  // Read once a table: reading sixteen values at every call takes longer than a small look-up.
  nb::class_<ScalarTable>(m, "ScalarTable");
  m.def("scalar_table", scalar_table);
  m.def("scalar_gather", scalar_gather);
  m.def("scalar_lookup", scalar_lookup);
  m.def("scalar_bag", scalar_bag);
}

}  // namespace pintsize
