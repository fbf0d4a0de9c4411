// All pairs of a list one by one, for lists that are short or hold infinities: O(l²) time.
//
// Items are in label order, so that row i meets the columns before its group. Tiles of kRows ×
// kCols pairs are summed in T, what leaves a tile in double; few rows, because all columns add the
// same weights in the same order and their roundings do not cancel. A pair's derivative is formed
// once: it is added to the row and taken off the column.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engines/label_order.h"

namespace fastloss {

template <class Loss>
class PairLoop {
 public:
  using T = typename Loss::Value;
  static constexpr int64_t kRows = 32;
  static constexpr int64_t kCols = 256;

  // `finite`: so are all scores, labels and weights.
  PairLoop(const Loss& loss, const LabelOrder<T>& order, bool finite)
      : loss_(loss), order_(order), finite_(finite) {}

  // Σ over the pairs of the items [begin, end), which must start with a group. Adds to
  // gradient[i − begin] unless it is null.
  double sum(int64_t begin, int64_t end, double* gradient) const {
    double total = 0;
    for (int64_t row = begin; row < end; row += kRows) {
      total += row_of_tiles(begin, row, std::min(end, row + kRows), gradient);
    }
    return total;
  }

  // The same of a whole list, its rows dealt out to a fixed number of tasks, each with a gradient
  // of its own.
  double sum_parallel(double* gradient) const {
    constexpr int64_t kTasks = 16;
    const int64_t count = order_.items().count;
    const host::Buffer<double> totals(kTasks, 0.0);
    const host::Buffer<double> partial(gradient != nullptr ? kTasks * count : 0, 0.0);
    host::for_each_task(kTasks, [&](int64_t task, int64_t) {
      double* const own = gradient != nullptr ? partial.data() + task * count : nullptr;
      for (int64_t row = task * kRows; row < count; row += kTasks * kRows) {
        totals[task] += row_of_tiles(0, row, std::min(count, row + kRows), own);
      }
    });
    double total = 0;
    for (int64_t task = 0; task < kTasks; ++task) {
      total += totals[task];
      for (int64_t i = 0; gradient != nullptr && i < count; ++i) {
        gradient[i] += partial[task * count + i];
      }
    }
    return total;
  }

 private:
  struct Tile {
    int64_t begin;     // of the range of items
    int64_t row, end;  // rows
    int64_t col;       // first of at most kCols columns
    double* gradient;
  };

  double row_of_tiles(int64_t begin, int64_t row, int64_t end, double* gradient) const {
    double total = 0;
    const int64_t last = loss_.rules.ties_half ? end - 1 : std::max(begin, order_.group(end - 1));
    for (int64_t col = begin; col < last; col += kCols) {
      const Tile tile{begin, row, end, col, gradient};
      double* const sum = &total;
      if (gradient == nullptr) {
        simd::dispatch([=, this]() FASTLOSS_SIMD_LOOP { *sum += run<false>(tile); });
      } else {
        simd::dispatch([=, this]() FASTLOSS_SIMD_LOOP { *sum += run<true>(tile); });
      }
    }
    return total;
  }

  // 0, 1, 2, …
  struct Indices {
    T value[kCols + kItemStep] = {};
    constexpr Indices() {
      for (int32_t i = 0; i < kCols + kItemStep; ++i) value[i] = static_cast<T>(i);
    }
  };
  static constexpr Indices kIndices{};

  // How a row's pairs are weighed beside its own item's weight.
  enum class Kind { kPlain, kLabelDiff, kTie, kWeightedTie };

  template <bool kGradient>
  FASTLOSS_HOST_DEVICE double run(const Tile& tile) const {
    T column[kCols + kItemStep] = {};
    const PairRules& rules = loss_.rules;
    const int64_t stop = tile.col + kCols;
    double total = 0;
    for (int64_t i = tile.row; i < tile.end; ++i) {
      const int64_t group = std::max(tile.begin, order_.group(i));
      const int64_t to = std::min(stop, group);
      if (to > tile.col) {
        total += rules.label_diff ? row<kGradient, Kind::kLabelDiff>(tile, i, tile.col, to, column)
                                  : row<kGradient, Kind::kPlain>(tile, i, tile.col, to, column);
      }
      // |label_i − label_j| is 0 in a tie.
      const int64_t from = std::max(tile.col, group), end = std::min(stop, i);
      if (rules.ties_half && !rules.label_diff && end > from) {
        total += order_.items().weight == nullptr
                     ? row<kGradient, Kind::kTie>(tile, i, from, end, column)
                     : row<kGradient, Kind::kWeightedTie>(tile, i, from, end, column);
      }
    }
    if constexpr (kGradient) {
      double* const out = tile.gradient + (tile.col - tile.begin);
      const int64_t width = std::min(kCols, tile.end - tile.col);
      for (int64_t j = 0; j < width; ++j) out[j] -= static_cast<double>(column[j]);
    }
    return total;
  }

  // Row i against the columns [from, to) of a tile, all of lower labels or all of its own.
  template <bool kGradient, Kind kKind>
  FASTLOSS_HOST_DEVICE double row(const Tile& tile, int64_t i, int64_t from, int64_t to,
                                  T* column) const {
    constexpr bool kTies = kKind == Kind::kTie || kKind == Kind::kWeightedTie;
    const ListItems<T>& items = order_.items();
    const T own = items.weight != nullptr ? items.weight[i] : T(1);
    // Without weight there is no pair, not even one whose term is infinite.
    if (!kTies && own == T(0)) return 0;
    const T* __restrict const score = items.score + from;
    const T* __restrict const label = items.label + from;
    const T* __restrict const weight = items.weight + (items.weight != nullptr ? from : 0);
    T* __restrict const out = column + (from - tile.col);
    const Loss loss = loss_;
    const T unit = kKind == Kind::kWeightedTie ? T(0.5) : own;
    const T score_i = items.score[i], label_i = items.label[i];
    const auto count = static_cast<int32_t>(to - from);
    const auto limit = static_cast<T>(count);
    const T* __restrict const index = kIndices.value;
    // Beyond `count` lie items of the row's own label or a higher one, with factor 0.
    const int32_t width = finite_ ? (count + kItemStep - 1) & ~(kItemStep - 1) : count;
    T value = 0, slope = 0;
#pragma omp simd reduction(+ : value, slope)
    for (int32_t j = 0; j < width; ++j) {
      // No load depends on a condition, and j itself is not compared, or the compiler would make
      // branches or two loops of it instead of vector code.
      const T keep = index[j] < limit ? unit : T(0);
      T factor = keep;
      if constexpr (kKind == Kind::kLabelDiff) factor = keep * (label_i - label[j]);
      if constexpr (kKind == Kind::kWeightedTie) factor = keep * (own + weight[j]);
      const T t = score_i - score[j];
      const PairTerm<T> term = kTies ? loss.tie(t) : loss.pair(t);
      const T derivative = factor * term.derivative;
      value += factor * term.value;
      slope += derivative;
      if constexpr (kGradient) out[j] += derivative;
    }
    if constexpr (kGradient) tile.gradient[i - tile.begin] += static_cast<double>(slope);
    return static_cast<double>(value);
  }

  Loss loss_;
  const LabelOrder<T>& order_;
  bool finite_;
};

}  // namespace fastloss
