#include "bindings.hpp"
#include "ops/encode_clipped.hpp"
#include "ops/encode_rotated.hpp"
#include "parallel.hpp"

namespace pintsize {
namespace {

// encode(rows, count, out) over all rows, by several threads; the first row that does not fit, or -1.
template <class F>
int64_t encode_all(int64_t count, int64_t columns, F&& encode) {
  First bad;
  parallel_for(count, 1 + (int64_t{1} << 17) / columns, [&](int64_t begin, int64_t end) {
    const int64_t row = encode(begin, end);
    if (row >= 0) bad.report(begin + row);
  });
  return bad.get();
}

}  // namespace

void bind_encode(nb::module_& m) {
  m.def("encode_rotated", [](Address rows, int64_t count, int64_t columns, int bits, float inverse_unit, float limit,
                             Address rotation, int64_t rounds, float gaussian_step, Address steps, int64_t step_count,
                             bool unbiased, Address out, int64_t record_bytes) {
    nb::gil_scoped_release release;
    const SymmetricCode code{columns,
                             bits,
                             inverse_unit,
                             limit,
                             rounds > 0 ? at<const uint8_t>(rotation) : nullptr,
                             rounds > 0 ? rounds : 0,
                             rounds < 0 ? at<const float>(rotation) : nullptr,
                             gaussian_step,
                             at<const float>(steps),
                             step_count,
                             unbiased};
    return encode_all(count, columns, [&](int64_t begin, int64_t end) {
      return encode_rotated().encode(code, at<const float>(rows) + begin * columns, end - begin,
                                     at<uint8_t>(out) + begin * record_bytes);
    });
  });
  m.def("encode_clipped", [](Address rows, int64_t count, int64_t columns, int64_t group, int bits, float inverse_unit,
                             float limit, int64_t bins, int64_t rounds, Address out, int64_t record_bytes) {
    nb::gil_scoped_release release;
    const ClippedCode code{columns, group, bits, inverse_unit, limit, bins, rounds};
    return encode_all(count, columns, [&](int64_t begin, int64_t end) {
      return encode_clipped().encode(code, at<const float>(rows) + begin * columns, end - begin,
                                     at<uint8_t>(out) + begin * record_bytes);
    });
  });
}

}  // namespace pintsize
