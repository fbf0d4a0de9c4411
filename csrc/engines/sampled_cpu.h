// The loops over sampled rows (see sampled.h) on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/lanes.h"
#include "core/simd.h"
#include "core/transpose.h"
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

// A block of rows with one positive and few negatives each, side by side (core/lanes.h).
template <class T>
struct SampledLanes {
  static constexpr int64_t kTile = kLanes * kLaneColumns;

  int64_t first, rows, lanes;
  T positive[kLanes];
  T weight[kLanes];  // 0: a row that does not count
  T factor[kLanes];
  T negative[kTile];
  T kept[kTile];        // whether a negative counts; the same for all of a row without a mask:
  int64_t kept_stride;  // then 0

  static bool takes(const SampledInput<T>& in) {
    return in.positives == 1 && in.negatives <= kLaneColumns;
  }

  FASTLOSS_HOST_DEVICE SampledLanes(const SampledInput<T>& in, const RowWeights<T>& weights,
                                    int64_t first_row, int64_t count)
      : first(first_row), rows(count), lanes(lanes_for(count)) {
    const int64_t n = in.negatives;
    std::fill_n(positive, kLanes, T(0));
    std::fill_n(weight, kLanes, T(0));
    in.positive.tile(first, 1, 1, rows, 1, positive);
    if (weights.weights == nullptr) {
      std::fill_n(weight, rows, T(1));
    } else {
      std::copy_n(weights.weights + first, rows, weight);
    }
    for (int64_t r = 0; r < rows && in.positive_where != nullptr; ++r) {
      if (!in.positive_where[first + r]) weight[r] = T(0);
    }
    for (int64_t r = 0; r < lanes; ++r) {
      factor[r] = weights.overall * weight[r];
      kept[r] = weight[r] == T(0) ? T(0) : T(1);
      positive[r] = weight[r] == T(0) ? T(0) : positive[r];
    }
    in.negative.tile(first * n, n, 1, rows, n, negative);
    for (int64_t c = 0; c < n; ++c) {
      for (int64_t r = rows; r < lanes; ++r) negative[c * kLanes + r] = T(0);
    }
    kept_stride = in.negative_where != nullptr ? kLanes : 0;
    if (in.negative_where == nullptr) return;
    const bool* const where = in.negative_where + first * n;
    for (int64_t c = n - 1; c >= 0; --c) {
      for (int64_t r = 0; r < lanes; ++r) {
        kept[c * kLanes + r] = r < rows && where[r * n + c] ? kept[r] : T(0);
      }
    }
  }

  // A gradient (all rows, n) from its tile.
  FASTLOSS_HOST_DEVICE void store(const T* tile, int64_t n, T* gradient) const {
    transpose(tile, kLanes, n, rows, gradient + first * n, n);
  }
  // Σ of the rows' losses, which go to `losses`, if not null.
  FASTLOSS_HOST_DEVICE double total(const T* loss, T* losses) const {
    if (losses != nullptr) std::copy_n(loss, rows, losses + first);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t r = 0; r < lanes; ++r) sum += static_cast<double>(loss[r]);
    return sum;
  }
};

// Σ of what work(SampledLanes) returns for all rows, block by block.
template <class T, class Work>
double sum_over_lanes(const SampledInput<T>& in, const RowWeights<T>& weights, const Work& work) {
  return sum_over_rows(in.rows, in.negatives, [&](int64_t begin, int64_t end, int64_t) {
    double sum = 0;
    simd::dispatch([&]() FASTLOSS_SIMD_LOOP {
      for (int64_t first = begin; first < end; first += kLanes) {
        sum += work(SampledLanes<T>(in, weights, first, std::min(kLanes, end - first)));
      }
    });
    return sum;
  });
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
    if (Lanes::takes(in_)) {
      return detail::sum_over_lanes(
          in_, weights, [this, losses, &gradients](const Lanes& block) FASTLOSS_SIMD_LOOP {
            return pairs_of_lanes(block, losses, gradients);
          });
    }
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
  using Lanes = detail::SampledLanes<T>;

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

  FASTLOSS_HOST_DEVICE double pairs_of_lanes(const Lanes& block, T* losses,
                                             const SampledGradients<T>& gradients) const {
    const int64_t n = in_.negatives, lanes = block.lanes;
    T slopes[Lanes::kTile], loss[kLanes] = {}, slope[kLanes] = {};
    const Loss functor = loss_;
    for (int64_t c = 0; c < n; ++c) {
      const T* const negative = block.negative + c * kLanes;
      const T* const kept = block.kept + c * block.kept_stride;
      T* const out = slopes + c * kLanes;
      for (int64_t r = 0; r < lanes; ++r) {
        const bool real = kept[r] != T(0);
        const Element<T> pair = functor.at(real ? negative[r] - block.positive[r] : T(0));
        loss[r] += real ? pair.value : T(0);
        out[r] = real ? block.factor[r] * pair.derivative : T(0);
        slope[r] += out[r];
      }
    }
    if (gradients.negative != nullptr) block.store(slopes, n, gradients.negative);
    for (int64_t r = 0; r < lanes; ++r) {
      slope[r] = -slope[r];
      loss[r] = loss[r] == T(0) ? T(0) : block.weight[r] * loss[r];
    }
    if (gradients.positive != nullptr) block.store(slope, 1, gradients.positive);
    return block.total(loss, losses);
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
    if (Lanes::takes(in_)) {
      return detail::sum_over_lanes(
          in_, weights, [this, losses, &gradients](const Lanes& block) FASTLOSS_SIMD_LOOP {
            return softmax_of_lanes(block, losses, gradients);
          });
    }
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
  using Lanes = detail::SampledLanes<T>;

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

  // softmax_of_row, across rows.
  FASTLOSS_HOST_DEVICE double softmax_of_lanes(const Lanes& block, T* losses,
                                               const SampledGradients<T>& gradients) const {
    const int64_t n = in_.negatives, lanes = block.lanes, first = block.first, rows = block.rows;
    const T scale = in_.scale;
    T terms[Lanes::kTile], log_q[Lanes::kTile];
    const int64_t log_q_stride = in_.negative_log_q != nullptr ? kLanes : 0;
    std::fill_n(log_q, std::max(kLanes, n * log_q_stride), T(0));
    if (in_.negative_log_q != nullptr) {
      detail::transpose(in_.negative_log_q + first * n, n, rows, n, log_q, kLanes);
    }
    T base[kLanes], z[kLanes], max[kLanes], sum[kLanes] = {}, along[kLanes] = {};
    for (int64_t r = 0; r < lanes; ++r) {
      const T own = block.positive[r];
      base[r] = own - own == T(0) ? own : T(0);
      z[r] = (own - base[r]) * scale;
      max[r] = -math::kInfinity<T>;
    }
    for (int64_t r = 0; r < rows && in_.positive_log_q != nullptr; ++r) {
      z[r] -= block.weight[r] == T(0) ? T(0) : in_.positive_log_q[first + r];
    }
    for (int64_t c = 0; c < n; ++c) {
      const T* const score = block.negative + c * kLanes;
      const T* const kept = block.kept + c * block.kept_stride;
      const T* const correction = log_q + c * log_q_stride;
      T* const term = terms + c * kLanes;
      for (int64_t r = 0; r < lanes; ++r) {
        const T negative = (score[r] - base[r]) * scale - correction[r];
        term[r] = kept[r] != T(0) ? negative : -math::kInfinity<T>;
        max[r] = term[r] > max[r] ? term[r] : max[r];
      }
    }
    for (int64_t c = 0; c < n; ++c) {
      T* const term = terms + c * kLanes;
      for (int64_t r = 0; r < lanes; ++r) {
        term[r] = math::exp_up_to_0(term[r] - LseState<T>::shift(max[r]));
        sum[r] += term[r];
      }
    }
    T loss[kLanes], dpositive[kLanes], share[kLanes];
    for (int64_t r = 0; r < lanes; ++r) {
      const auto result = SampledSoftmaxLoss<T>::finish({max[r], sum[r]}, z[r]);
      loss[r] = block.weight[r] * result.value;
      dpositive[r] = block.factor[r] * result.dpositive;
      share[r] = block.factor[r] * result.share;
    }
    if (gradients.scale != nullptr) {
      for (int64_t c = 0; c < n; ++c) {
        const T* const kept = block.kept + c * block.kept_stride;
        for (int64_t r = 0; r < lanes; ++r) {
          const int64_t at = c * kLanes + r;
          along[r] += kept[r] != T(0) ? terms[at] * (block.negative[at] - base[r]) : T(0);
        }
      }
      for (int64_t r = 0; r < rows; ++r) {
        // Without a negative the derivative is 0, whatever the positive.
        const T own = dpositive[r] * (block.positive[r] - base[r]);
        gradients.scale[first + r] =
            sum[r] == T(0) ? 0.0 : static_cast<double>(own + share[r] * along[r]);
      }
    }
    if (gradients.negative != nullptr) {
      for (int64_t c = 0; c < n; ++c) {
        for (int64_t r = 0; r < lanes; ++r) terms[c * kLanes + r] *= scale * share[r];
      }
      block.store(terms, n, gradients.negative);
    }
    if (gradients.positive != nullptr) {
      for (int64_t r = 0; r < lanes; ++r) dpositive[r] *= scale;
      block.store(dpositive, 1, gradients.positive);
    }
    return block.total(loss, losses);
  }

  const SampledInput<T>& in_;
};

}  // namespace fastloss
