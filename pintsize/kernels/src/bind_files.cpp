#include "bindings.hpp"
#include "file_reads.hpp"

namespace pintsize {

void bind_files(nb::module_& m) {
  m.def("has_ring", has_ring);
  m.def("read_rows", [](int plain, int direct, int64_t begin, int64_t width, Address rows, int64_t count, Address out,
                        int depth, bool ring) {
    Fault fault;
    {
      nb::gil_scoped_release release;
      fault = read_rows({plain, direct, begin, width}, at<const int64_t>(rows), count, at<uint8_t>(out), depth, ring);
    }
    return nb::make_tuple(fault.place, fault.error);
  });
}

}  // namespace pintsize
