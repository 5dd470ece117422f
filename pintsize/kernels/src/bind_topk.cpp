#include "bindings.hpp"
#include "ops/topk.hpp"
#include "parallel.hpp"

namespace pintsize {

void bind_topk(nb::module_& m) {
  m.def("topk_merge", [](Address scores, int64_t queries, int64_t stride, int64_t columns, int64_t first, int64_t k,
                         Address best, Address ids) {
    nb::gil_scoped_release release;
    parallel_for(queries, 8, [&](int64_t begin, int64_t end) {
      topk().merge(at<const float>(scores), stride, columns, first, k, begin, end, at<float>(best), at<int64_t>(ids));
    });
  });
}

}  // namespace pintsize
