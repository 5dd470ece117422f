#include <atomic>

#include "bindings.hpp"
#include "ops/code_rows.hpp"
#include "ops/dense_rows.hpp"
#include "ops/partition.hpp"
#include "ops/product.hpp"
#include "parallel.hpp"

namespace pintsize {
namespace {

// As `DenseTable._layout` lists it.
DenseTable dense_table(nb::tuple layout) {
  Fields next(layout, 4);
  DenseTable t{};
  t.values = next.array<const uint8_t>();
  t.stride = next.integer();
  t.columns = next.integer();
  t.kind = static_cast<Floats>(next.integer());
  return t;
}

void dense_gather(nb::tuple layout, Address rows, int64_t count, Address out) {
  const DenseTable table = dense_table(layout);
  nb::gil_scoped_release release;
  const DenseRows& op = dense_rows();
  parallel_for(count, grain_for(table.columns), [&](int64_t begin, int64_t end) {
    op.gather(table, at<const int64_t>(rows) + begin, end - begin, at<float>(out) + begin * table.columns);
  });
}

void dense_bag(nb::tuple layout, Address rows, int64_t total, Address starts, int64_t bags, bool mean, Address weights,
               Address out) {
  const DenseTable table = dense_table(layout);
  nb::gil_scoped_release release;
  const DenseRows& op = dense_rows();
  const int64_t* begins = at<const int64_t>(starts);
  parallel_bags(begins, bags, total, grain_for(table.columns), [&](int64_t first, int64_t last) {
    op.bag(table, at<const int64_t>(rows), total, begins, bags, first, last, mean, at<const float>(weights),
           at<float>(out));
  });
}

void scatter_rows(Address from, int64_t columns, Address places, int64_t count, Address out) {
  nb::gil_scoped_release release;
  const DenseRows& op = dense_rows();
  parallel_for(count, grain_for(columns), [&](int64_t begin, int64_t end) {
    op.scatter(at<const float>(from) + begin * columns, columns, at<const int64_t>(places) + begin, end - begin,
               at<float>(out));
  });
}

// As `CodebookTable._layout` lists it.
CodebookTable codebook_table(nb::tuple layout) {
  Fields next(layout, 13);
  CodebookTable t{};
  t.records = next.array<const uint8_t>();
  t.rows = next.integer();
  t.stride = next.integer();
  t.record_bytes = next.integer();
  t.columns = next.integer();
  t.codes = next.integer();
  t.bits = next.integer();
  t.sum = next.integer() != 0;
  t.books = next.array<const uint8_t>();
  t.half = next.integer() != 0;
  t.shared_book = next.integer() != 0;
  t.codewords = next.integer();
  t.width = next.integer();
  return t;
}

int64_t codebook_gather(nb::tuple layout, Address rows, int64_t count, Address out) {
  const CodebookTable table = codebook_table(layout);
  nb::gil_scoped_release release;
  const CodeRows& op = code_rows();
  First damaged;
  parallel_for(count, grain_for(table.columns), [&](int64_t begin, int64_t end) {
    const int64_t bad =
        op.gather(table, at<const int64_t>(rows) + begin, end - begin, at<float>(out) + begin * table.columns);
    damaged.report(bad < 0 ? bad : begin + bad);
  });
  return damaged.get();
}

int64_t codebook_bag(nb::tuple layout, Address rows, int64_t total, Address starts, int64_t bags, bool mean,
                     Address weights, Address out) {
  const CodebookTable table = codebook_table(layout);
  nb::gil_scoped_release release;
  const CodeRows& op = code_rows();
  const int64_t* begins = at<const int64_t>(starts);
  First damaged;
  parallel_bags(begins, bags, total, grain_for(table.columns), [&](int64_t first, int64_t last) {
    const Scratch line = scratch_of(4 * table.columns);
    damaged.report(op.bag(table, at<const int64_t>(rows), total, begins, bags, first, last, mean, at<const float>(weights),
                          at<float>(out), line.get()));
  });
  return damaged.get();
}

// As `PartitionedTable._layout` lists it. Returns what is wrong, as ops/partition.hpp numbers it.
int partition_rows(nb::tuple layout, Address rows, int64_t count, Address begins, Address stood, Address sorted) {
  Fields next(layout, 6);
  PartitionMap map{};
  map.part = next.array<const uint8_t>();
  map.rows = next.integer();
  map.parts = next.integer();
  map.before = next.array<const uint8_t>();
  map.wide = next.integer() != 0;
  map.sizes = next.array<const int64_t>();
  nb::gil_scoped_release release;
  const Partition& op = partition();
  const std::unique_ptr<uint8_t[]> part(new uint8_t[count]);
  const std::unique_ptr<int64_t[]> place(new int64_t[count]);
  std::atomic<bool> no_part{false}, outside{false};
  parallel_for(count, grain_for(32), [&](int64_t begin, int64_t end) {
    const int wrong = op.locate(map, at<const int64_t>(rows) + begin, end - begin, part.get() + begin, place.get() + begin);
    if (wrong == 1) no_part = true;
    if (wrong == 2) outside = true;
  });
  if (no_part || outside) return no_part ? 1 : 2;
  op.group(part.get(), place.get(), count, map.parts, at<int64_t>(begins), at<int64_t>(stood), at<int64_t>(sorted));
  return 0;
}

void narrow_product(Address left, int64_t count, int64_t inner, Address right, int64_t columns, Address out) {
  nb::gil_scoped_release release;
  const Product& op = product();
  parallel_for(count, grain_for(columns), [&](int64_t begin, int64_t end) {
    op.multiply(at<const float>(left) + begin * inner, end - begin, inner, at<const float>(right), columns,
                at<float>(out) + begin * columns);
  });
}

}  // namespace

void bind_tables(nb::module_& m) {
  m.def("dense_gather", dense_gather);
  m.def("dense_bag", dense_bag);
  m.def("scatter_rows", scatter_rows);
  m.def("codebook_gather", codebook_gather);
  m.def("codebook_bag", codebook_bag);
  m.def("partition_rows", partition_rows);
  m.def("narrow_product", narrow_product);
}

}  // namespace pintsize
