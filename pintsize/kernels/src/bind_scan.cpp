#include <atomic>
#include <limits>
#include <vector>

#include "bindings.hpp"
#include "ops/scan.hpp"
#include "parallel.hpp"

namespace pintsize {
namespace {

constexpr int64_t kChunk = 2048;  // rows whose scales are decoded at a time

}  // namespace

void bind_scan(nb::module_& m) {
  m.def("scan_reach", [](int largest) { return scan().reach(largest); });
  // Candidates for the k best of each query among byte-code records. Every thread goes through its own rows with its own
  // lists, in `parts` of (queries x capacity); `held` is (parts x queries). Returns false where
  // a query has more candidates than room for them.
  m.def("scan_bytes", [](Address records, int64_t stride, int64_t n, int64_t columns, int64_t code_bytes, bool has_offset,
                         float unit, float bias, Address codes, int64_t count, int64_t padded, Address step, Address sum,
                         Address residue, Address error, int64_t k, int64_t capacity, Address high, Address low,
                         Address row, Address held, int64_t parts) {
    nb::gil_scoped_release release;
    const ScanQueries queries{at<const int8_t>(codes), count, padded, at<const float>(step), at<const float>(sum),
                              at<const float>(residue), at<const float>(error)};
    const Scan& kernel = scan();
    std::atomic<bool> fits{true};
    const int64_t rows_each = (n + parts - 1) / parts;
    parallel_for(parts, 1, [&](int64_t first_part, int64_t last_part) {
      std::vector<uint8_t> workspace(kernel.workspace_bytes(columns));
      std::vector<float> scale(kChunk), offset(kChunk), bound(count);
      for (int64_t part = first_part; part < last_part; ++part) {
        bound.assign(count, -std::numeric_limits<float>::infinity());
        const int64_t place = part * count * capacity;
        ScanFound found{k, capacity, bound.data(), at<int64_t>(held) + part * count, at<float>(low) + place,
                        at<float>(high) + place, at<int64_t>(row) + place};
        const int64_t end = (part + 1) * rows_each < n ? (part + 1) * rows_each : n;
        for (int64_t begin = part * rows_each; begin < end; begin += kChunk) {
          const int64_t chunk = end - begin < kChunk ? end - begin : kChunk;
          const uint8_t* first = at<const uint8_t>(records) + begin * stride;
          kernel.meta(first + code_bytes, stride, chunk, has_offset, unit, bias, scale.data(), offset.data());
          const ScanRows rows{first, stride, chunk, columns, scale.data(), offset.data()};
          if (!kernel.offer(rows, queries, 255, begin, found, workspace.data())) fits = false;
        }
        for (int64_t q = 0; q < count; ++q) kernel.shrink(found, q);
      }
    });
    return fits.load();
  });
}

}  // namespace pintsize
