// The loops of the row-wise engine (see rowwise.h) on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/row_distance.h"
#include "engines/rowwise.h"

namespace fastloss {

// A kind of row has `operands`, rows of `features`, of which operand o gives `count(o)` a row, and
// `slopes()` numbers a row between the passes. forward(row, x, slopes) returns the loss of a row,
// x[o] being the rows of operand o; backward(row, x, slopes, factor, out) adds factor · ∂L/∂x[o] to
// out[o] where that is not null.

// Anchor, positive and h negatives.
template <class Loss, class T>
struct TripletRows {
  static constexpr int kOperands = 3;

  Source<T> operands[kOperands];
  int64_t rows, features, negatives;
  RowDistance<T> between;
  bool swap;  // the negative's distance is the shorter one of those to anchor and positive
  Loss loss;

  FASTLOSS_HOST_DEVICE int64_t count(int operand) const { return operand == 2 ? negatives : 1; }
  FASTLOSS_HOST_DEVICE int64_t slopes() const { return negatives; }

  FASTLOSS_HOST_DEVICE double forward(int64_t, const T* const* x, T* slopes) const {
    const double positive = between.measure(x[0], x[1], features).distance;
    double sum = 0;
    for (int64_t j = 0; j < negatives; ++j) {
      const auto one = loss.at(positive, nearest(x, j).pair.distance);
      slopes[j] = static_cast<T>(one.derivative);
      sum += one.value;
    }
    return sum;
  }

  FASTLOSS_HOST_DEVICE void backward(int64_t, const T* const* x, const T* slopes, double factor,
                                     T* const* out) const {
    double sum = 0;
    for (int64_t j = 0; j < negatives; ++j) {
      if (slopes[j] == T(0)) continue;
      const double slope = factor * static_cast<double>(slopes[j]);
      const Nearest to = nearest(x, j);
      add(to.pair, -slope, x[to.other], x[2] + j * features, out[to.other],
          out[2] != nullptr ? out[2] + j * features : nullptr);
      sum += slope;
    }
    add(between.measure(x[0], x[1], features), sum, x[0], x[1], out[0], out[1]);
  }

 private:
  struct Nearest {
    typename RowDistance<T>::Pair pair;
    int other;  // operand that the negative is compared with
  };

  FASTLOSS_HOST_DEVICE Nearest nearest(const T* const* x, int64_t j) const {
    Nearest best{};
    for (int other = 0; other <= static_cast<int>(swap); ++other) {
      const auto pair = between.measure(x[other], x[2] + j * features, features);
      if (other == 0 || pair.distance < best.pair.distance) best = {pair, other};
    }
    return best;
  }

  FASTLOSS_HOST_DEVICE void add(const typename RowDistance<T>::Pair& pair, double factor,
                                const T* x, const T* y, T* dx, T* dy) const {
    if (dx != nullptr) between.add_first(pair, factor, x, y, features, dx);
    if (dy != nullptr) between.add_second(pair, factor, x, y, features, dy);
  }
};

// Two rows that are similar or not.
template <class Loss, class T>
struct PairRows {
  static constexpr int kOperands = 2;

  Source<T> operands[kOperands];
  int64_t rows, features;
  RowDistance<T> between;
  const T* labels;  // (rows)
  T similar;        // the label of similar rows
  Loss loss;

  FASTLOSS_HOST_DEVICE int64_t count(int) const { return 1; }
  FASTLOSS_HOST_DEVICE int64_t slopes() const { return 1; }

  FASTLOSS_HOST_DEVICE double forward(int64_t row, const T* const* x, T* slopes) const {
    const auto one =
        loss.at(between.measure(x[0], x[1], features).distance, labels[row] == similar);
    *slopes = static_cast<T>(one.derivative);
    return one.value;
  }

  FASTLOSS_HOST_DEVICE void backward(int64_t, const T* const* x, const T* slopes, double factor,
                                     T* const* out) const {
    const auto pair = between.measure(x[0], x[1], features);
    const double slope = factor * static_cast<double>(*slopes);
    if (out[0] != nullptr) between.add_first(pair, slope, x[0], x[1], features, out[0]);
    if (out[1] != nullptr) between.add_second(pair, slope, x[0], x[1], features, out[1]);
  }
};

// Three rows whose label tells which of the last two belongs to the first; the loss sees features.
template <class Loss, class T>
struct LabelledRows {
  static constexpr int kOperands = 3;

  Source<T> operands[kOperands];
  int64_t rows, features;
  const T* labels;  // (rows), 1 or 0
  Loss loss;

  FASTLOSS_HOST_DEVICE int64_t count(int) const { return 1; }
  FASTLOSS_HOST_DEVICE int64_t slopes() const { return 1; }

  FASTLOSS_HOST_DEVICE double forward(int64_t row, const T* const* x, T* slopes) const {
    const bool exchanged = labels[row] == T(0);
    const T* __restrict a = x[0];
    const T* __restrict p = x[exchanged ? 2 : 1];
    const T* __restrict n = x[exchanged ? 1 : 2];
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < features; ++k) sum += Loss::part(a[k], p[k], n[k]);
    const auto one = loss.at(sum);
    *slopes = static_cast<T>(one.derivative);
    return one.value;
  }

  FASTLOSS_HOST_DEVICE void backward(int64_t row, const T* const* x, const T* slopes, double factor,
                                     T* const* out) const {
    const bool exchanged = labels[row] == T(0);
    const T* __restrict a = x[0];
    const T* __restrict p = x[exchanged ? 2 : 1];
    const T* __restrict n = x[exchanged ? 1 : 2];
    const T slope = static_cast<T>(factor * static_cast<double>(*slopes));
    if (T* __restrict da = out[0]; da != nullptr) {
#pragma omp simd
      for (int64_t k = 0; k < features; ++k) da[k] += slope * Loss::slopes(a[k], p[k], n[k]).a;
    }
    if (T* __restrict dp = out[exchanged ? 2 : 1]; dp != nullptr) {
#pragma omp simd
      for (int64_t k = 0; k < features; ++k) dp[k] += slope * Loss::slopes(a[k], p[k], n[k]).p;
    }
    if (T* __restrict dn = out[exchanged ? 1 : 2]; dn != nullptr) {
#pragma omp simd
      for (int64_t k = 0; k < features; ++k) dn[k] += slope * Loss::slopes(a[k], p[k], n[k]).n;
    }
  }
};

template <class Rows, class T>
class RowwiseCpu {
 public:
  static constexpr int kOperands = Rows::kOperands;

  explicit RowwiseCpu(const Rows& rows) : rows_(rows) {}

  // Returns Σ weight(i) · L_i. `weights` (n) may be null, all 1; `losses` (n), if not null, gets
  // the terms; `slopes` (n, rows.slopes()) is for backward.
  double forward(const T* weights, T* losses, T* slopes) const {
    const host::Buffer<double> sums(tasks());
    const RowFactor<T> factor{.weights = weights};
    for_tasks([&factor, &sums, losses, slopes, this](const Task& task) FASTLOSS_SIMD_LOOP {
      double sum = 0;
      for (int64_t row = task.first; row < task.last; ++row) {
        const double loss =
            loss_of(row, factor.weight(row), slopes + row * rows_.slopes(), task.scratch);
        if (losses != nullptr) losses[row] = static_cast<T>(loss);
        sum += loss;
      }
      sums[task.index] = sum;
    });
    double total = 0;
    for (int64_t task = 0; task < tasks(); ++task) total += sums[task];
    return total;
  }

  // gradients[o] = factor · ∂L/∂(operand o), where its data is not null.
  void backward(const T* slopes, const RowFactor<T>& factor,
                const Sink<T> (&gradients)[kOperands]) const {
    for_tasks([&factor, &gradients, slopes, this](const Task& task) FASTLOSS_SIMD_LOOP {
      for (int64_t row = task.first; row < task.last; ++row) {
        T* out[kOperands];
        T* const free = zeros(gradients, row, task.scratch, out);
        const T* const own = slopes + row * rows_.slopes();
        if (!is_level(own)) {
          const T* x[kOperands];
          read(row, free, x);
          rows_.backward(row, x, own, factor[row], out);
        }
        for (int o = 0; o < kOperands; ++o) {
          if (out[o] != nullptr) gradients[o].store(row * size(o), size(o), out[o]);
        }
      }
    });
  }

 private:
  static constexpr int64_t kTaskFeatures = 1 << 15;

  struct Task {
    int64_t index, first, last;
    T* scratch;  // (2, size())
  };

  // Features of operand o that belong to a row.
  FASTLOSS_HOST_DEVICE int64_t size(int o) const { return rows_.count(o) * rows_.features; }

  FASTLOSS_HOST_DEVICE int64_t size() const {
    int64_t sum = 0;
    for (int o = 0; o < kOperands; ++o) sum += size(o);
    return sum;
  }

  int64_t rows_a_task() const {
    return std::max<int64_t>(1, kTaskFeatures / std::max<int64_t>(1, size()));
  }

  int64_t tasks() const { return (rows_.rows + rows_a_task() - 1) / rows_a_task(); }

  template <class Work>
  void for_tasks(const Work& work) const {
    const int64_t room = 2 * size(), step = rows_a_task();
    const host::Buffer<T> scratch(host::threads() * room);
    host::for_each_task(tasks(), [&](int64_t index, int64_t slot) {
      const Task task{index, index * step, std::min(rows_.rows, (index + 1) * step),
                      scratch.data() + slot * room};
      simd::dispatch([&work, task]() FASTLOSS_SIMD_LOOP { work(task); });
    });
  }

  FASTLOSS_HOST_DEVICE double loss_of(int64_t row, double weight, T* slopes, T* scratch) const {
    if (weight == 0) {
      std::fill_n(slopes, rows_.slopes(), T(0));
      return 0;
    }
    const T* x[kOperands];
    read(row, scratch, x);
    return weight * rows_.forward(row, x, slopes);
  }

  // Whether the loss of a row does not depend on its distances.
  FASTLOSS_HOST_DEVICE bool is_level(const T* slopes) const {
    bool level = true;
    for (int64_t j = 0; j < rows_.slopes(); ++j) level &= slopes[j] == T(0);
    return level;
  }

  FASTLOSS_HOST_DEVICE void read(int64_t row, T* scratch, const T** x) const {
    for (int o = 0; o < kOperands; ++o) {
      x[o] = rows_.operands[o].span(row * size(o), size(o), scratch);
      scratch += size(o);
    }
  }

  // Zeros to add gradients to; returns the scratch that is left.
  FASTLOSS_HOST_DEVICE T* zeros(const Sink<T> (&gradients)[kOperands], int64_t row, T* scratch,
                                T** out) const {
    for (int o = 0; o < kOperands; ++o) {
      out[o] = nullptr;
      if (gradients[o].data == nullptr) continue;
      out[o] = gradients[o].span(row * size(o), scratch);
      std::fill_n(out[o], size(o), T(0));
      scratch += size(o);
    }
    return scratch;
  }

  const Rows& rows_;
};

}  // namespace fastloss
