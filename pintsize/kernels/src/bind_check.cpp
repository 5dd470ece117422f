#include "bindings.hpp"
#include "ops/check.hpp"

namespace pintsize {

void bind_check(nb::module_& m) {
  m.def("outside", [](Address rows, int64_t count, int64_t limit) {
    nb::gil_scoped_release release;
    return check().outside(at<const int64_t>(rows), count, limit);
  });
  m.def("nonfinite", [](Address values, int64_t rows, int64_t columns) {
    nb::gil_scoped_release release;
    return check().nonfinite(at<const float>(values), rows, columns);
  });
}

}  // namespace pintsize
