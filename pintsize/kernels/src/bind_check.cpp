#include "bindings.hpp"
#include "ops/check.hpp"

namespace pintsize {

namespace {

// Where a C-contiguous array's elements lie; read-only arrays too.
Address address(nb::handle array) {
  Py_buffer view;
  if (PyObject_GetBuffer(array.ptr(), &view, PyBUF_SIMPLE) != 0) throw nb::python_error();
  const Address found = reinterpret_cast<Address>(view.buf);
  PyBuffer_Release(&view);
  return found;
}

}  // namespace

void bind_check(nb::module_& m) {
  m.def("address", address);
  m.def("outside", [](Address rows, int64_t count, int64_t limit) {
    nb::gil_scoped_release release;
    return check().outside(at<const int64_t>(rows), count, limit);
  });
  m.def("rising", [](Address offsets, int64_t count, int64_t limit) {
    nb::gil_scoped_release release;
    return check().rising(at<const int64_t>(offsets), count, limit);
  });
  m.def("nonfinite", [](Address values, int64_t rows, int64_t columns) {
    nb::gil_scoped_release release;
    return check().nonfinite(at<const float>(values), rows, columns);
  });
}

}  // namespace pintsize
