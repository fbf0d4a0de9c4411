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

// Rows of one task: enough work to be worth handing out, whatever a row's length.
inline int64_t sampled_rows_a_task(int64_t work_a_row) {
  return std::clamp<int64_t>((1 << 15) / std::max<int64_t>(1, work_a_row), 1, 1024);
}

template <class Work>
void for_sampled_rows(int64_t rows, int64_t work_a_row, const Work& work) {
  const int64_t a_task = sampled_rows_a_task(work_a_row);
  host::for_each_task((rows + a_task - 1) / a_task, [&](int64_t task, int64_t slot) {
    work(task * a_task, std::min(rows, (task + 1) * a_task), slot);
  });
}

}  // namespace detail

// Number of kept pairs of every row, as a number that is divided by.
template <class T>
void count_pairs(const SampledInput<T>& in, double* counts) {
  const auto kept = [](const bool* where, int64_t row, int64_t size) {
    int64_t count = 0;
    for (int64_t i = 0; where != nullptr && i < size; ++i) count += where[row * size + i];
    return where != nullptr ? count : size;
  };
  for (int64_t row = 0; row < in.rows; ++row) {
    counts[row] = static_cast<double>(kept(in.positive_where, row, in.positives)) *
                  static_cast<double>(kept(in.negative_where, row, in.negatives));
  }
}

// Every positive of a row against each of its negatives.
template <class Loss, class T>
class SampledPairsCpu {
 public:
  SampledPairsCpu(const SampledInput<T>& input, Loss loss) : in_(input), loss_(loss) {}

  // losses[b] = Σ over the pairs of row b; gradients of Σ_b factors[b] · losses[b]. A row of factor
  // 0 does not exist.
  void forward(const T* factors, T* losses, const SampledGradients<T>& gradients) const {
    if (in_.positives == 1 && in_.negatives == 1) return one_pair_a_row(factors, losses, gradients);
    const int64_t width = in_.positives + in_.negatives;
    const host::Buffer<T> scratch(host::threads() * 2 * width);
    detail::for_sampled_rows(
        in_.rows, in_.positives * in_.negatives, [&](int64_t first, int64_t last, int64_t slot) {
          T* const values = scratch.data() + 2 * width * slot;
          simd::dispatch([=, this, &gradients]() FASTLOSS_SIMD_LOOP {
            for (int64_t row = first; row < last; ++row) {
              losses[row] = pairs_of_row(row, factors[row], values, values + width, gradients);
            }
          });
        });
  }

 private:
  static constexpr int64_t kSpan = 1024;

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

  FASTLOSS_HOST_DEVICE T pairs_of_row(int64_t row, T factor, T* values, T* derivatives,
                                      const SampledGradients<T>& gradients) const {
    const int64_t p = in_.positives, n = in_.negatives;
    if (factor == T(0)) {
      if (gradients.positive != nullptr) std::fill_n(gradients.positive + row * p, p, T(0));
      if (gradients.negative != nullptr) std::fill_n(gradients.negative + row * n, n, T(0));
      return T(0);
    }
    const Side positive = side(in_.positive, in_.positive_where, row, p, values, derivatives);
    const Side negative =
        side(in_.negative, in_.negative_where, row, n, values + p, derivatives + p);
    // The longer side runs in the inner loop.
    const double total = positive.kept > negative.kept ? sum<-1>(negative, positive)
                                                       : sum<1>(positive, negative);
    if (gradients.positive != nullptr) spread(positive, -factor, gradients.positive + row * p);
    if (gradients.negative != nullptr) spread(negative, factor, gradients.negative + row * n);
    return static_cast<T>(total);
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

  // The batch is the vector.
  void one_pair_a_row(const T* factors, T* losses, const SampledGradients<T>& gradients) const {
    detail::for_sampled_rows(in_.rows, 1, [&](int64_t first, int64_t last, int64_t) {
      static_assert(kSpan >= 1024, "rows of a task");
      simd::dispatch([=, this, &gradients]() FASTLOSS_SIMD_LOOP {
        T positives[kSpan], negatives[kSpan], slopes[kSpan];
        const int64_t count = last - first;
        const T* __restrict positive = in_.positive.span(first, count, positives);
        const T* __restrict negative = in_.negative.span(first, count, negatives);
        T* __restrict out = losses + first;
        const T* __restrict factor = factors + first;
        const bool* const positive_where = in_.positive_where;
        const bool* const negative_where = in_.negative_where;
        for (int64_t i = 0; i < count; ++i) {
          const bool kept = (factor[i] != T(0)) &
                            (positive_where == nullptr || positive_where[first + i]) &
                            (negative_where == nullptr || negative_where[first + i]);
          out[i] = kept ? T(1) : T(0);
        }
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
          const bool kept = out[i] != T(0);
          const Element<T> pair = loss_.at(kept ? negative[i] - positive[i] : T(0));
          out[i] = kept ? pair.value : T(0);
          slopes[i] = kept ? factor[i] * pair.derivative : T(0);
        }
        for (int64_t i = 0; gradients.positive != nullptr && i < count; ++i) {
          gradients.positive[first + i] = -slopes[i];
        }
        for (int64_t i = 0; gradients.negative != nullptr && i < count; ++i) {
          gradients.negative[first + i] = slopes[i];
        }
      });
    });
  }

  const SampledInput<T>& in_;
  Loss loss_;
};

// One positive of a row against the softmax over it and the row's negatives.
template <class T>
class SampledSoftmaxCpu {
 public:
  explicit SampledSoftmaxCpu(const SampledInput<T>& input) : in_(input) {}

  void forward(const T* factors, T* losses, const SampledGradients<T>& gradients) const {
    const int64_t n = in_.negatives;
    const host::Buffer<T> scratch(host::threads() * 2 * n);
    detail::for_sampled_rows(in_.rows, n, [&](int64_t first, int64_t last, int64_t slot) {
      T* const stored = scratch.data() + 2 * n * slot;
      simd::dispatch([=, this, &gradients]() FASTLOSS_SIMD_LOOP {
        for (int64_t row = first; row < last; ++row) {
          losses[row] = softmax_of_row(row, factors[row], stored, stored + n, gradients);
        }
      });
    });
  }

 private:
  FASTLOSS_HOST_DEVICE T softmax_of_row(int64_t row, T factor, T* stored, T* terms,
                                        const SampledGradients<T>& gradients) const {
    const int64_t n = in_.negatives;
    if (factor == T(0)) {
      if (gradients.positive != nullptr) gradients.positive[row] = T(0);
      if (gradients.negative != nullptr) std::fill_n(gradients.negative + row * n, n, T(0));
      if (gradients.scale != nullptr) gradients.scale[row] = 0;
      return T(0);
    }
    const T scale = in_.scale;
    const T* __restrict score = in_.negative.span(row * n, n, stored);
    const T* __restrict log_q = in_.negative_log_q ? in_.negative_log_q + row * n : nullptr;
    const bool* __restrict where = in_.negative_where ? in_.negative_where + row * n : nullptr;
    T* __restrict term = gradients.negative ? gradients.negative + row * n : terms;

    T max = -math::kInfinity<T>;
#pragma omp simd reduction(max : max)
    for (int64_t j = 0; j < n; ++j) {
      const T z = score[j] * scale - (log_q != nullptr ? log_q[j] : T(0));
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
    const T own = in_.positive[row];
    const T z = own * scale - (in_.positive_log_q != nullptr ? in_.positive_log_q[row] : T(0));
    const auto result = SampledSoftmaxLoss<T>::finish({max, sum}, z);

    if (gradients.positive != nullptr) gradients.positive[row] = factor * scale * result.dpositive;
    if (gradients.scale != nullptr) {
      const T share = factor * result.share;
      T along = 0;
#pragma omp simd reduction(+ : along)
      for (int64_t j = 0; j < n; ++j) {
        along += where == nullptr || where[j] ? term[j] * score[j] : T(0);
      }
      // Without a negative the derivative is 0, whatever the positive.
      const bool none = sum == T(0);
      gradients.scale[row] =
          none ? 0.0 : static_cast<double>(factor * result.dpositive * own + share * along);
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
