#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "bindings.hpp"
#include "ops/scan.hpp"
#include "parallel.hpp"

namespace pintsize {
namespace {

// Lists of several parts of the rows, (parts x count x k), into the first of them. Equal scores keep the lower row.
void merge_parts(const ScanLists& lists, int64_t parts, int64_t count, int64_t k) {
  std::vector<float> scores(parts * k);
  std::vector<int64_t> rows(parts * k), order(parts * k);
  for (int64_t q = 0; q < count; ++q) {
    for (int64_t p = 0; p < parts; ++p) {
      std::memcpy(scores.data() + p * k, lists.scores + (p * count + q) * k, k * sizeof(float));
      std::memcpy(rows.data() + p * k, lists.rows + (p * count + q) * k, k * sizeof(int64_t));
    }
    std::iota(order.begin(), order.end(), 0);
    // Parts come in the order of their rows, and so do equal scores within a list.
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    for (int64_t i = 0; i < k; ++i) {
      lists.scores[q * k + i] = scores[order[i]];
      lists.rows[q * k + i] = rows[order[i]];
    }
  }
}

}  // namespace

void bind_scan(nb::module_& m) {
  // The k best rows of each query among byte-code records, in `parts` lists of (queries x k), of which the first is the
  // answer. False: the table is not one for this scan, and the lists hold nothing.
  m.def("scan_bytes", [](Address records, int64_t stride, int64_t n, int64_t columns, int64_t code_bytes, bool has_offset,
                         float unit, float bias, Address queries, int64_t count, int64_t k, Address starts,
                         Address hidden, Address allowed, Address scores, Address found, int64_t parts) {
    nb::gil_scoped_release release;
    const ScanRows rows{at<const uint8_t>(records), stride, columns, code_bytes, has_offset, unit, bias};
    const ScanAsked asked{at<const float>(queries), count, k, at<const int64_t>(starts), at<const int64_t>(hidden),
                          at<const uint8_t>(allowed)};
    const ScanLists lists{at<float>(scores), at<int64_t>(found)};
    std::fill_n(lists.scores, parts * count * k, -std::numeric_limits<float>::infinity());
    std::fill_n(lists.rows, parts * count * k, -1);
    std::atomic<bool> good{true};
    const int64_t each = (n + parts - 1) / parts;
    parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end && good; ++part) {
        const ScanLists own{lists.scores + part * count * k, lists.rows + part * count * k};
        if (!scan().bytes(rows, asked, std::min(n, part * each), std::min(n, (part + 1) * each), own)) good = false;
      }
    });
    if (good && parts > 1) merge_parts(lists, parts, count, k);
    return good.load();
  });
  // Scores of chosen rows, (queries x width), -1 for none.
  m.def("scan_scores", [](Address records, int64_t stride, int64_t columns, int64_t code_bytes, bool has_offset, float unit,
                          float bias, Address queries, int64_t count, Address chosen, int64_t width, Address out) {
    nb::gil_scoped_release release;
    const ScanRows rows{at<const uint8_t>(records), stride, columns, code_bytes, has_offset, unit, bias};
    parallel_for(count, std::max<int64_t>(1, 4096 / std::max<int64_t>(1, width)), [&](int64_t begin, int64_t end) {
      scan().scores(rows, at<const float>(queries) + begin * columns, end - begin,
                    at<const int64_t>(chosen) + begin * width, width, at<float>(out) + begin * width);
    });
  });
}

}  // namespace pintsize
