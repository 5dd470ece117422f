#include "bindings.hpp"
#include "ops/encode.hpp"
#include "parallel.hpp"

namespace pintsize {
namespace {

void pack(Address codes, int64_t rows, int64_t digits, int64_t levels, int64_t width, Address out) {
  nb::gil_scoped_release release;
  const Encode& op = encode();
  parallel_for(rows, grain_for(digits), [&](int64_t begin, int64_t end) {
    op.pack(at<const uint8_t>(codes) + begin * digits, end - begin, digits, levels, width,
            at<uint8_t>(out) + begin * width);
  });
}

void unpack(Address packed, int64_t rows, int64_t digits, int64_t levels, int64_t width, Address out) {
  nb::gil_scoped_release release;
  const Encode& op = encode();
  parallel_for(rows, grain_for(digits), [&](int64_t begin, int64_t end) {
    op.unpack(at<const uint8_t>(packed) + begin * width, end - begin, digits, levels, width,
              at<uint8_t>(out) + begin * digits);
  });
}

int64_t encode_affine(Address values, int64_t rows, int64_t columns, int64_t group, int64_t levels, double unit,
                      int64_t code_bytes, int64_t record_bytes, Address records) {
  nb::gil_scoped_release release;
  const Encode& op = encode();
  const AffineCode how{columns, group, levels, static_cast<float>(unit), code_bytes, record_bytes};
  First first;
  parallel_for(rows, grain_for(columns), [&](int64_t begin, int64_t end) {
    const std::unique_ptr<uint8_t[]> codes(new uint8_t[columns]);
    const int64_t bad = op.affine(how, at<const float>(values) + begin * columns, end - begin,
                                  at<uint8_t>(records) + begin * record_bytes, codes.get());
    first.report(bad < 0 ? bad : 2 * begin + bad);
  });
  return first.get();
}

void absmax(Address values, int64_t rows, int64_t columns, Address out) {
  nb::gil_scoped_release release;
  const Encode& op = encode();
  parallel_for(rows, grain_for(columns), [&](int64_t begin, int64_t end) {
    op.absmax(at<const float>(values) + begin * columns, end - begin, columns, at<float>(out) + begin);
  });
}

}  // namespace

void bind_packing(nb::module_& m) {
  m.def("pack", pack);
  m.def("unpack", unpack);
  m.def("encode_affine", encode_affine);
  m.def("absmax", absmax);
}

}  // namespace pintsize
