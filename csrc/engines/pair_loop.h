// All pairs of a list one by one, for lists that are short or hold infinities: O(l²) time.
//
// Items are in label order, so that row i meets the columns before its group. Tiles of kTile × kTile
// pairs are summed in T, what leaves a tile in double. A pair's derivative is formed once: it is
// added to the row and taken off the column.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engines/label_order.h"

namespace fastloss {

template <class Loss>
class PairLoop {
 public:
  using T = typename Loss::Value;
  static constexpr int64_t kTile = 256;

  PairLoop(const Loss& loss, const LabelOrder<T>& order) : loss_(loss), order_(order) {}

  // Σ over the pairs of the items [begin, end), which must start with a group. Adds to
  // gradient[i − begin] unless it is null.
  double sum(int64_t begin, int64_t end, double* gradient) const {
    double total = 0;
    for (int64_t row = begin; row < end; row += kTile) {
      total += row_of_tiles(begin, row, std::min(end, row + kTile), gradient);
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
      for (int64_t row = task * kTile; row < count; row += kTasks * kTile) {
        totals[task] += row_of_tiles(0, row, std::min(count, row + kTile), own);
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
    int64_t col;       // first of at most kTile columns
    double* gradient;
  };

  double row_of_tiles(int64_t begin, int64_t row, int64_t end, double* gradient) const {
    double total = 0;
    const int64_t last = loss_.rules.ties_half ? end - 1 : std::max(begin, order_.group(end - 1));
    for (int64_t col = begin; col < last; col += kTile) {
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

  template <bool kGradient>
  FASTLOSS_HOST_DEVICE double run(const Tile& tile) const {
    T column[kTile + kLanes] = {};
    double total = 0;
    for (int64_t i = tile.row; i < tile.end; ++i) {
      const int64_t group = std::max(tile.begin, order_.group(i));
      const int64_t stop = tile.col + kTile;
      total += row<kGradient, false>(tile, i, tile.col, std::min(stop, group), column);
      if (loss_.rules.ties_half) {
        total += row<kGradient, true>(tile, i, std::max(tile.col, group), std::min(stop, i), column);
      }
    }
    if constexpr (kGradient) {
      double* const out = tile.gradient + (tile.col - tile.begin);
      const int64_t width = std::min(kTile, tile.end - tile.col);
      for (int64_t j = 0; j < width; ++j) out[j] -= static_cast<double>(column[j]);
    }
    return total;
  }

  // Row i against the columns [from, to) of a tile, all of lower labels or (kTies) all of its own.
  template <bool kGradient, bool kTies>
  FASTLOSS_HOST_DEVICE double row(const Tile& tile, int64_t i, int64_t from, int64_t to,
                                  T* __restrict column) const {
    if (from >= to) return 0;
    const ListItems<T>& items = order_.items();
    const T own = items.weight != nullptr ? items.weight[i] : T(1);
    // Without weight there is no pair, not even one whose term is infinite.
    if (!kTies && own == T(0)) return 0;
    const bool differ = loss_.rules.label_diff;
    const T* __restrict const score = items.score + from;
    const T* __restrict const label = items.label + from;
    const T* __restrict const weight = items.weight != nullptr ? items.weight + from : nullptr;
    T* __restrict const out = column + (from - tile.col);
    const T si = items.score[i], yi = items.label[i];
    const auto count = static_cast<int32_t>(to - from);
    const uint32_t width = (static_cast<uint32_t>(count) + uint32_t{kLanes} - 1) / kLanes * kLanes;
    T value = 0, slope = 0;
    const auto pairs = [&](auto factor_of) FASTLOSS_SIMD_LOOP {
#pragma omp simd reduction(+ : value, slope)
      for (uint32_t j = 0; j < width; ++j) {
        const PairTerm<T> term = kTies ? loss_.tie(si - score[j]) : loss_.pair(si - score[j]);
        const T factor = factor_of(j);
        const bool kept = static_cast<int32_t>(j) < count && !(factor == T(0));
        const T derivative = kept ? factor * term.derivative : T(0);
        value += kept ? factor * term.value : T(0);
        slope += derivative;
        if constexpr (kGradient) out[j] += derivative;
      }
    };
    if (kTies) {
      if (differ) return 0;  // |label_i − label_j| = 0
      if (weight == nullptr) {
        pairs([](uint32_t) FASTLOSS_SIMD_LOOP { return T(1); });
      } else {
        pairs([&](uint32_t j) FASTLOSS_SIMD_LOOP { return T(0.5) * (own + weight[j]); });
      }
    } else if (differ) {
      pairs([&](uint32_t j) FASTLOSS_SIMD_LOOP { return own * (yi - label[j]); });
    } else {
      pairs([&](uint32_t) FASTLOSS_SIMD_LOOP { return own; });
    }
    if constexpr (kGradient) tile.gradient[i - tile.begin] += static_cast<double>(slope);
    return static_cast<double>(value);
  }

  Loss loss_;
  const LabelOrder<T>& order_;
};

}  // namespace fastloss
