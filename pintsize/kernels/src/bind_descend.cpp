#include <algorithm>
#include <atomic>
#include <vector>

#include "bindings.hpp"
#include "ops/descend.hpp"
#include "parallel.hpp"

namespace pintsize {
namespace {

// f(begin, end, worker) over small blocks of [0, rows), handed out as workers come free: lists differ in length.
template <class F>
void in_blocks(int64_t rows, F&& f) {
  constexpr int64_t block = 64;
  std::atomic<int64_t> next{0};
  const int64_t workers = rows > block ? threads() : 1;
  parallel_for(workers, 1, [&](int64_t first, int64_t last) {
    for (int64_t worker = first; worker < last; ++worker)
      for (int64_t begin; (begin = next.fetch_add(block)) < rows;)
        f(begin, begin + block < rows ? begin + block : rows, worker);
  });
}

Lists lists_at(Address indptr, Address ids, Address targets, Address weights, float alpha) {
  return {at<const int64_t>(indptr), at<const int32_t>(ids), at<const float>(targets), at<const float>(weights), alpha};
}

int64_t longest(const int64_t* indptr, int64_t rows) {
  int64_t most = 0;
  for (int64_t r = 0; r < rows; ++r) most = std::max(most, indptr[r + 1] - indptr[r]);
  return most;
}

}  // namespace

void bind_descend(nb::module_& m) {
  m.def("descend", [](Address codes, Address scales, Address levels, int32_t num_levels, Address gram, Address product,
                      Address aim, Address other, int64_t rows, int64_t columns, Address indptr, Address ids,
                      Address targets, Address weights, float alpha, int32_t sweeps, float floor, bool fit_before,
                      bool fit_after) {
    nb::gil_scoped_release release;
    const Side side{at<uint8_t>(codes),        at<float>(scales),      at<const float>(levels),
                    at<const float>(gram),     at<const float>(product), at<const float>(aim),
                    at<const float>(other),    lists_at(indptr, ids, targets, weights, alpha),
                    columns,                   num_levels,             sweeps,
                    floor,                     fit_before,             fit_after};
    const Descend& op = descend();
    const int64_t space = op.scratch(longest(side.lists.indptr, rows), columns);
    std::vector<std::vector<float>> scratch(threads());
    std::atomic<int64_t> changes{0};
    in_blocks(rows, [&](int64_t begin, int64_t end, int64_t worker) {
      scratch[worker].resize(space);
      changes += op.rows(side, begin, end, scratch[worker].data());
    });
    return changes.load();
  });
  m.def("pair_products", [](Address left, Address right, int64_t rows, int64_t columns, Address indptr, Address ids,
                            Address out) {
    nb::gil_scoped_release release;
    const Descend& op = descend();
    in_blocks(rows, [&](int64_t begin, int64_t end, int64_t) {
      op.products(at<const float>(left), at<const float>(right), columns, at<const int64_t>(indptr),
                  at<const int32_t>(ids), begin, end, at<float>(out));
    });
  });
  m.def("pair_pull", [](Address left, Address right, int64_t rows, int64_t columns, Address indptr, Address ids,
                        Address targets, Address weights, float alpha, Address out) {
    nb::gil_scoped_release release;
    const Descend& op = descend();
    const Lists lists = lists_at(indptr, ids, targets, weights, alpha);
    in_blocks(rows, [&](int64_t begin, int64_t end, int64_t) {
      op.pull(at<const float>(left), at<const float>(right), columns, lists, begin, end, at<float>(out));
    });
  });
  m.def("transpose_lists", [](Address indptr, Address ids, Address targets, int64_t rows, int64_t cap, Address starts,
                              Address totals, Address seen, Address out_ids, Address out_targets) {
    nb::gil_scoped_release release;
    descend().transpose(at<const int64_t>(indptr), at<const int32_t>(ids), at<const float>(targets), rows, cap,
                        at<const int64_t>(starts), at<const int64_t>(totals), at<int64_t>(seen), at<int32_t>(out_ids),
                        at<float>(out_targets));
  });
}

}  // namespace pintsize
