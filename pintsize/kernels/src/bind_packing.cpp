#include "bindings.hpp"
#include "ops/packing.hpp"
#include "parallel.hpp"

namespace pintsize {
namespace {

void pack(Address codes, int64_t rows, int64_t digits, int64_t levels, int64_t width, Address out) {
  nb::gil_scoped_release release;
  const Packing& op = packing();
  parallel_for(rows, grain_for(digits), [&](int64_t begin, int64_t end) {
    op.pack(at<const uint8_t>(codes) + begin * digits, end - begin, digits, levels, width,
            at<uint8_t>(out) + begin * width);
  });
}

void unpack(Address packed, int64_t rows, int64_t digits, int64_t levels, int64_t width, Address out) {
  nb::gil_scoped_release release;
  const Packing& op = packing();
  parallel_for(rows, grain_for(digits), [&](int64_t begin, int64_t end) {
    op.unpack(at<const uint8_t>(packed) + begin * width, end - begin, digits, levels, width,
              at<uint8_t>(out) + begin * digits);
  });
}

}  // namespace

void bind_packing(nb::module_& m) {
  m.def("pack", pack);
  m.def("unpack", unpack);
}

}  // namespace pintsize
