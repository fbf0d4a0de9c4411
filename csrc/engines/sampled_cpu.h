// The loops over sampled rows (see sampled.h) on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/sampled.h"
#include "losses/sampled_softmax_loss.h"

namespace fastloss {

namespace detail {

// Σ over the rows of what work(first, last, slot) returns for a task's rows, added task by task.
template <class Work>
double sum_over_rows(int64_t rows, int64_t work_a_row, const Work& work) {
  // Enough work to be worth handing out, whatever a row's length.
  const int64_t a_task =
      std::clamp<int64_t>((1 << 15) / std::max<int64_t>(1, work_a_row), 1, 1 << 13);
  const int64_t tasks = (rows + a_task - 1) / a_task;
  const host::Buffer<double> sums(tasks);
  host::for_each_task(tasks, [&](int64_t task, int64_t slot) {
    sums[task] = work(task * a_task, std::min(rows, (task + 1) * a_task), slot);
  });
  double total = 0;
  for (int64_t task = 0; task < tasks; ++task) total += sums[task];
  return total;
}

}  // namespace detail

// Number of kept pairs of a row, as a number that is divided by.
template <class T>
double count_pairs(const SampledInput<T>& in, int64_t row) {
  const auto kept = [row](const bool* where, int64_t size) {
    int64_t count = 0;
    for (int64_t i = 0; where != nullptr && i < size; ++i) count += where[row * size + i];
    return static_cast<double>(where != nullptr ? count : size);
  };
  return kept(in.positive_where, in.positives) * kept(in.negative_where, in.negatives);
}

// Every positive of a row against each of its negatives.
template <class Loss, class T>
class SampledPairsCpu {
 public:
  SampledPairsCpu(const SampledInput<T>& input, Loss loss) : in_(input), loss_(loss) {}

  // Returns Σ_b weight(b) · L_b, L_b the sum over the pairs of row b; `losses` (rows), if not null,
  // gets the terms.
  double forward(const RowWeights<T>& weights, T* losses,
                 const SampledGradients<T>& gradients) const {
    if (in_.positives == 1 && in_.negatives <= kShort)
      return short_rows(weights, losses, gradients);
    const int64_t width = in_.positives + in_.negatives;
    const host::Buffer<T> scratch(host::threads() * 2 * width);
    return detail::sum_over_rows(
        in_.rows, in_.positives * in_.negatives, [&](int64_t first, int64_t last, int64_t slot) {
          T* const values = scratch.data() + 2 * width * slot;
          double sum = 0;
          simd::dispatch([=, this, &gradients, &sum]() FASTLOSS_SIMD_LOOP {
            for (int64_t row = first; row < last; ++row) {
              const T weight = weights.weight(row);
              const double loss = static_cast<double>(weight) *
                                  pairs_of_row(row, weights.factor(row), weight == T(0), values,
                                               values + width, gradients);
              if (losses != nullptr) losses[row] = static_cast<T>(loss);
              sum += loss;
            }
          });
          return sum;
        });
  }

 private:
  static constexpr int64_t kSpan = 1024;
  static constexpr int64_t kShort = 64;

  // The kept scores of one side of a row, gathered.
  struct Side {
    const T* values;
    const bool* where;  // (size) or null
    int64_t size;
    int64_t kept;
    T* derivative;  // (kept): Σ ∂L/∂gap over the other side
  };

  FASTLOSS_HOST_DEVICE static Side side(const Source<T>& source, const bool* where, int64_t row,
                                        int64_t size, T* values, T* derivative) {
    const bool* const own = where != nullptr ? where + row * size : nullptr;
    const T* const all = source.span(row * size, size, values);
    if (own == nullptr) return {all, nullptr, size, size, derivative};
    int64_t kept = 0;
    for (int64_t i = 0; i < size; ++i) {
      if (own[i]) values[kept++] = all[i];  // kept ≤ i: in place, too
    }
    return {values, own, size, kept, derivative};
  }

  FASTLOSS_HOST_DEVICE double pairs_of_row(int64_t row, T factor, bool without, T* values,
                                           T* derivatives,
                                           const SampledGradients<T>& gradients) const {
    const int64_t p = in_.positives, n = in_.negatives;
    if (without) {
      if (gradients.positive != nullptr) std::fill_n(gradients.positive + row * p, p, T(0));
      if (gradients.negative != nullptr) std::fill_n(gradients.negative + row * n, n, T(0));
      return 0;
    }
    const Side positive = side(in_.positive, in_.positive_where, row, p, values, derivatives);
    const Side negative =
        side(in_.negative, in_.negative_where, row, n, values + p, derivatives + p);
    // The longer side runs in the inner loop.
    const double total =
        positive.kept > negative.kept ? sum<-1>(negative, positive) : sum<1>(positive, negative);
    if (gradients.positive != nullptr) spread(positive, -factor, gradients.positive + row * p);
    if (gradients.negative != nullptr) spread(negative, factor, gradients.negative + row * n);
    return total;
  }

  // gap = Sign · (inner − outer).
  template <int Sign>
  FASTLOSS_HOST_DEVICE double sum(const Side& outer, const Side& inner) const {
    std::fill_n(inner.derivative, inner.kept, T(0));
    const T* __restrict values = inner.values;
    T* __restrict derivative = inner.derivative;
    double total = 0;
    for (int64_t i = 0; i < outer.kept; ++i) {
      const T own = outer.values[i];
      T loss = 0, slope = 0;
#pragma omp simd reduction(+ : loss, slope)
      for (int64_t j = 0; j < inner.kept; ++j) {
        const Element<T> pair = loss_.at(T(Sign) * (values[j] - own));
        loss += pair.value;
        slope += pair.derivative;
        derivative[j] += pair.derivative;
      }
      outer.derivative[i] = slope;
      total += static_cast<double>(loss);
    }
    return total;
  }

  FASTLOSS_HOST_DEVICE static void spread(const Side& side, T factor, T* __restrict gradient) {
    if (side.where == nullptr) {
#pragma omp simd
      for (int64_t i = 0; i < side.size; ++i) gradient[i] = factor * side.derivative[i];
      return;
    }
    int64_t next = 0;
    for (int64_t i = 0; i < side.size; ++i) {
      gradient[i] = side.where[i] ? factor * side.derivative[next++] : T(0);
    }
  }

  // One positive and few negatives a row: the pairs of many rows, one after the other, are the
  // vector. The positive is repeated for each of its negatives.
  double short_rows(const RowWeights<T>& weights, T* losses,
                    const SampledGradients<T>& gradients) const {
    const int64_t n = in_.negatives, block = kSpan / std::max<int64_t>(1, n);
    return detail::sum_over_rows(in_.rows, n, [&](int64_t first, int64_t last, int64_t) {
      double sum = 0;
      simd::dispatch([=, this, &gradients, &sum]() FASTLOSS_SIMD_LOOP {
        for (int64_t row = first; row < last; row += block) {
          sum += short_block(row, std::min(block, last - row), weights, losses, gradients);
        }
      });
      return sum;
    });
  }

  FASTLOSS_HOST_DEVICE double short_block(int64_t first, int64_t rows, const RowWeights<T>& weights,
                                          T* losses, const SampledGradients<T>& gradients) const {
    T stored_positives[kSpan], stored_negatives[kSpan], gaps[kSpan], factors[kSpan], kept[kSpan];
    T values[kSpan], slopes[kSpan];
    const int64_t n = in_.negatives, pairs = rows * n;
    const T* __restrict positive = in_.positive.span(first, rows, stored_positives);
    const T* __restrict negative = in_.negative.span(first * n, pairs, stored_negatives);
    const bool* const positive_where =
        in_.positive_where != nullptr ? in_.positive_where + first : nullptr;
    const bool* __restrict negative_where =
        in_.negative_where != nullptr ? in_.negative_where + first * n : nullptr;
    for (int64_t r = 0; r < rows; ++r) {
      const bool real =
          (weights.weight(first + r) != T(0)) & (positive_where == nullptr || positive_where[r]);
      std::fill_n(gaps + r * n, n, positive[r]);
      std::fill_n(factors + r * n, n, weights.factor(first + r));
      std::fill_n(kept + r * n, n, real ? T(1) : T(0));
    }
    if (negative_where != nullptr) {
#pragma omp simd
      for (int64_t i = 0; i < pairs; ++i) kept[i] = negative_where[i] ? kept[i] : T(0);
    }
    const Loss functor = loss_;
#pragma omp simd
    for (int64_t i = 0; i < pairs; ++i) {
      const bool real = kept[i] != T(0);
      const Element<T> pair = functor.at(real ? negative[i] - gaps[i] : T(0));
      values[i] = real ? pair.value : T(0);
      slopes[i] = real ? factors[i] * pair.derivative : T(0);
    }
    if (gradients.negative != nullptr) std::copy_n(slopes, pairs, gradients.negative + first * n);
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      T loss = 0, slope = 0;
      for (int64_t i = r * n; i < (r + 1) * n; ++i) {
        loss += values[i];
        slope += slopes[i];
      }
      if (gradients.positive != nullptr) gradients.positive[first + r] = -slope;
      const T weighted = loss == T(0) ? T(0) : weights.weight(first + r) * loss;
      if (losses != nullptr) losses[first + r] = weighted;
      sum += static_cast<double>(weighted);
    }
    return sum;
  }

  const SampledInput<T>& in_;
  Loss loss_;
};

// One positive of a row against the softmax over it and the row's negatives.
template <class T>
class SampledSoftmaxCpu {
 public:
  explicit SampledSoftmaxCpu(const SampledInput<T>& input) : in_(input) {}

  double forward(const RowWeights<T>& weights, T* losses,
                 const SampledGradients<T>& gradients) const {
    const int64_t n = in_.negatives;
    const host::Buffer<T> scratch(host::threads() * 2 * n);
    return detail::sum_over_rows(in_.rows, n, [&](int64_t first, int64_t last, int64_t slot) {
      T* const stored = scratch.data() + 2 * n * slot;
      double sum = 0;
      simd::dispatch([=, this, &gradients, &sum]() FASTLOSS_SIMD_LOOP {
        for (int64_t row = first; row < last; ++row) {
          const T weight = weights.weight(row);
          const T loss = weight * softmax_of_row(row, weights.factor(row), weight == T(0), stored,
                                                 stored + n, gradients);
          if (losses != nullptr) losses[row] = loss;
          sum += static_cast<double>(loss);
        }
      });
      return sum;
    });
  }

 private:
  FASTLOSS_HOST_DEVICE T softmax_of_row(int64_t row, T factor, bool without, T* stored, T* terms,
                                        const SampledGradients<T>& gradients) const {
    const int64_t n = in_.negatives;
    if (without) {
      if (gradients.positive != nullptr) gradients.positive[row] = T(0);
      if (gradients.negative != nullptr) std::fill_n(gradients.negative + row * n, n, T(0));
      if (gradients.scale != nullptr) gradients.scale[row] = 0;
      return T(0);
    }
    const T scale = in_.scale;
    const T own = in_.positive[row];
    // Differences to the positive: scores far from 0 lose nothing when they are scaled.
    const T base = own - own == T(0) ? own : T(0);
    const T* __restrict score = in_.negative.span(row * n, n, stored);
    const T* __restrict log_q = in_.negative_log_q ? in_.negative_log_q + row * n : nullptr;
    const bool* __restrict where = in_.negative_where ? in_.negative_where + row * n : nullptr;
    T* __restrict term = gradients.negative ? gradients.negative + row * n : terms;

    T max = -math::kInfinity<T>;
#pragma omp simd reduction(max : max)
    for (int64_t j = 0; j < n; ++j) {
      const T z = (score[j] - base) * scale - (log_q != nullptr ? log_q[j] : T(0));
      term[j] = where == nullptr || where[j] ? z : -math::kInfinity<T>;
      max = term[j] > max ? term[j] : max;
    }
    const T reference = LseState<T>::shift(max);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) {
      term[j] = math::exp_up_to_0(term[j] - reference);
      sum += term[j];
    }
    const T z =
        (own - base) * scale - (in_.positive_log_q != nullptr ? in_.positive_log_q[row] : T(0));
    const auto result = SampledSoftmaxLoss<T>::finish({max, sum}, z);

    if (gradients.positive != nullptr) gradients.positive[row] = factor * scale * result.dpositive;
    if (gradients.scale != nullptr) {
      const T share = factor * result.share;
      T along = 0;
#pragma omp simd reduction(+ : along)
      for (int64_t j = 0; j < n; ++j) {
        along += where == nullptr || where[j] ? term[j] * (score[j] - base) : T(0);
      }
      // Without a negative the derivative is 0, whatever the positive.
      const bool none = sum == T(0);
      gradients.scale[row] =
          none ? 0.0
               : static_cast<double>(factor * result.dpositive * (own - base) + share * along);
    }
    if (gradients.negative != nullptr) {
      const T share = factor * scale * result.share;
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) term[j] *= share;
    }
    return result.value;
  }

  const SampledInput<T>& in_;
};

}  // namespace fastloss
