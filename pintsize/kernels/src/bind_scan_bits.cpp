#include <algorithm>
#include <limits>
#include <vector>

#include "bindings.hpp"
#include "ops/scan_bits.hpp"
#include "parallel.hpp"

namespace pintsize {

void bind_scan_bits(nb::module_& m) {
  // The `wanted` rows of largest rounded score of each query, in no order, into (queries x wanted); -1 fills up.
  m.def("scan_bits", [](Address records, int64_t stride, int64_t n, int64_t code_bytes, bool has_offset, float unit,
                        Address entries, int64_t count, int64_t tables, Address step, Address base, Address total,
                        Address allowed, int64_t wanted, Address scores, Address out, int64_t parts) {
    nb::gil_scoped_release release;
    const ScanRows rows{at<const uint8_t>(records), stride, 0, code_bytes, has_offset, unit, 0};
    const BitTables asked{at<const uint8_t>(entries), count, tables, at<const float>(step), at<const float>(base),
                          at<const float>(total)};
    const int64_t capacity = 2 * wanted + 2 * kBitRows, each = (n + parts - 1) / parts;
    const auto never = -std::numeric_limits<float>::infinity();
    std::vector<float> found_scores(parts * count * capacity), bound(parts * count, never);
    std::vector<int64_t> found_rows(parts * count * capacity), held(parts * count, 0);
    const auto found = [&](int64_t part) {
      const int64_t place = part * count;
      return BitFound{wanted, capacity, found_scores.data() + place * capacity, found_rows.data() + place * capacity,
                      held.data() + place, bound.data() + place};
    };
    parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part)
        scan_bits().offer(rows, asked, at<const uint8_t>(allowed), std::min(n, part * each),
                          std::min(n, (part + 1) * each), found(part));
    });
    parallel_for(count, 64, [&](int64_t begin, int64_t end) {
      for (int64_t q = begin; q < end; ++q) {
        const BitFound all = found(0);
        for (int64_t part = 1; part < parts; ++part) {
          const BitFound more = found(part);
          for (int64_t i = 0; i < more.held[q]; ++i) {
            if (all.held[q] == capacity) scan_bits().settle(all, q);
            const int64_t at = q * capacity + all.held[q]++;
            all.scores[at] = more.scores[q * capacity + i];
            all.rows[at] = more.rows[q * capacity + i];
          }
        }
        scan_bits().settle(all, q);
        float* score = at<float>(scores) + q * wanted;
        int64_t* row = at<int64_t>(out) + q * wanted;
        const int64_t kept = all.held[q];
        std::copy_n(all.scores + q * capacity, kept, score);
        std::copy_n(all.rows + q * capacity, kept, row);
        std::fill(score + kept, score + wanted, never);
        std::fill(row + kept, row + wanted, -1);
      }
    });
  });
}

}  // namespace pintsize
