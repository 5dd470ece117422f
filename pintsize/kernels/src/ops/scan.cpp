#include "ops/scan.hpp"

#include <algorithm>
#include <vector>

#include "ops/scan_alike.hpp"
#include "ops/scan_few.hpp"
#include "ops/scan_lists.hpp"
#include "ops/scan_product.hpp"

namespace pintsize {
namespace {

constexpr int64_t kChunk = kAlike;  // rows between two looks at how many columns pay
constexpr int64_t kFew = 2;       // queries that are multiplied with the rows as they lie
// In processor cycles, roughly, of one row and query: a chunk of columns of the integer product, the bounds of a row, a
// float score and a column of it.
constexpr double kProduct = 0.6, kBounds = 1.3, kFloat = 25, kFloatColumn = 0.6;
// Rows scored in float for this many times the cost of the whole product: bounds are of no use here.
constexpr double kGivesUp = 4;

// How many chunks of columns the integer product takes: fewer as long as their bounds still tell nearly all rows.
class Depth {
 public:
  explicit Depth(int64_t most) : most_(most), step_(std::max<int64_t>(1, most / 8)), now_(most) {}
  int64_t now() const { return now_; }
  bool gives_up() const { return worst_ > kGivesUp; }

  // Takes the cost of what followed the product, a row and query; returns whether `now` changed.
  bool learn(double work) {
    const int64_t before = now_;
    const double product = kProduct * static_cast<double>(now_);
    if (now_ == most_) worst_ = work / product;
    if (work > product && now_ < most_) {
      now_ = std::min(most_, now_ + step_);
      wait_ = patience_;
      patience_ = std::min<int64_t>(2 * patience_, 64);
    } else if (wait_ > 0) {
      --wait_;
    } else if (work < 0.25 * product && now_ > step_) {
      now_ -= step_;
    }
    return now_ != before;
  }

 private:
  int64_t most_, step_, now_, wait_ = 1, patience_ = 4;
  double worst_ = 0;
};

// Chunks of columns, those first that carry most of the products of a sample of rows and queries.
std::vector<int64_t> order_of(const ScanRows& rows, const ScanAsked& asked, int64_t begin, int64_t end, float* longest) {
  const int64_t chunks = chunks_of(rows.columns);
  std::vector<double> weight(chunks, 0), codes(rows.columns, 0), queries(rows.columns, 0);
  const int64_t jump = std::max<int64_t>(1, (end - begin) / 256);
  for (int64_t row = begin; row < end; row += jump) {
    const uint8_t* record = rows.records + row * rows.stride;
    const double scale = line_of(rows, record).scale;
    int64_t squares = 0;
    for (int64_t j = 0; j < rows.columns; ++j) {
      const int64_t d = static_cast<int64_t>(record[j]) - kCenter;
      squares += d * d;
      codes[j] += static_cast<double>(d * d) * scale * scale;
    }
    *longest = std::max(*longest, std::sqrt(static_cast<float>(squares)));
  }
  for (int64_t q = 0; q < asked.count; ++q)
    for (int64_t j = 0; j < rows.columns; ++j) {
      const double value = asked.queries[q * rows.columns + j];
      queries[j] += value * value;
    }
  for (int64_t j = 0; j < rows.columns; ++j) weight[j / kChunkColumns] += std::sqrt(codes[j] * queries[j]);
  std::vector<int64_t> order(chunks);
  for (int64_t i = 0; i < chunks; ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return weight[a] > weight[b]; });
  return order;
}

bool bytes(const ScanRows& rows, const ScanAsked& asked, int64_t begin, int64_t end, const ScanLists& lists) {
  if (begin >= end || asked.count == 0) return true;
  if (chunks_of(rows.columns) > kMostChunks) return false;
  if (asked.count <= kFew && few_fits(rows)) {
    few_bytes(rows, asked, begin, end, lists);
    return true;
  }
  float longest = 1;
  const std::vector<int64_t> order = order_of(rows, asked, begin, end, &longest);
  const int64_t chunks = static_cast<int64_t>(order.size());
  Depth depth(std::min(chunks, kMostChunks));
  Rounded rounded(rows, asked, order);
  Block block(chunks);
  int64_t chosen[kChunk];
  std::vector<float> last_scores(asked.count);
  const auto expected = [&] {
    return 1.15f * longest * std::sqrt(static_cast<float>(std::min(depth.now(), kSegment)) / static_cast<float>(chunks));
  };
  rounded.round(depth.now(), expected());
  for (int64_t first = begin; first < end; first += kChunk) {
    const int64_t last = std::min(end, first + kChunk);
    Work work;
    block.longest = 0;
    alike(rows, first, last - first, chosen);
    for (int64_t at = 0; at < last - first; at += kRows) {
      block.load(rows, order, rounded, chosen + at, std::min(kRows, last - first - at));
      against_all(block, rows, asked, rounded, lists, last_scores, work);
    }
    const double looks = static_cast<double>(last - first) * static_cast<double>(asked.count);
    const double floats = static_cast<double>(work.floats) * (kFloat + kFloatColumn * static_cast<double>(rows.columns));
    const bool moved = depth.learn((static_cast<double>(work.bounds) * kBounds + floats) / looks);
    if (first - begin >= 16 * kChunk && depth.gives_up()) return false;
    if (moved) rounded.round(depth.now(), expected());
    else if (block.longest > rounded.longest()) rounded.round(depth.now(), 1.2f * block.longest);
  }
  return true;
}

void scores(const ScanRows& rows, const float* queries, int64_t count, const int64_t* chosen, int64_t width, float* out) {
  constexpr int64_t ahead = 16;
  const int64_t total = count * width;
  for (int64_t i = 0; i < total; ++i) {
    if (i + ahead < total && chosen[i + ahead] >= 0) {
      const uint8_t* next = rows.records + chosen[i + ahead] * rows.stride;
      for (int64_t at = 0; at < rows.stride; at += 64) __builtin_prefetch(next + at);
    }
    out[i] = chosen[i] < 0 ? -HUGE_VALF
                           : byte_score(rows, rows.records + chosen[i] * rows.stride, queries + i / width * rows.columns);
  }
}

}  // namespace

PINTSIZE_TABLE(Scan, scan) {
  static const Scan table{bytes, scores};
  return table;
}

}  // namespace pintsize
