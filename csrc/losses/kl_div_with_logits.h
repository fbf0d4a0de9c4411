// Kullback–Leibler divergence between a distribution t over classes and p = softmax(z).
//
// Forward, KL(t ‖ p), with t as given (it need not sum to 1):
//     L = Σ_c t_c (log t_c − log p_c),      ∂L/∂z_c = (Σ t) p_c − t_c,
// the gradient of cross-entropy, whose entropy term does not depend on z. Reverse, KL(p ‖ t):
//     L = Σ_c p_c (log p_c − log t_c),      ∂L/∂z_c = p_c (log p_c − log t_c − L),
// because ∂p_c/∂z_j = p_c ([j = c] − p_j) and Σ_c p_c ∂log p_c/∂z_j = 0. 0 · log 0 = 0: a class
// with t_c = 0 (forward) or p_c = 0 (reverse) adds nothing. Logits enter relative to their maximum
// (softmax_row.h), log t_c in the same term, so that what cancels, cancels class by class.
#pragma once

#include "losses/softmax_row.h"

namespace fastloss {

// The target as given: probabilities, or their logarithms.
template <class T>
struct KlTarget {
  bool is_log;

  FASTLOSS_HOST_DEVICE bool takes(T target) const {
    return is_log ? !(target > T(0.0078125)) : is_probability(target);
  }
  FASTLOSS_HOST_DEVICE T probability(T target) const { return is_log ? math::exp(target) : target; }
  FASTLOSS_HOST_DEVICE T log(T target) const { return is_log ? target : math::log(target); }
};

template <class T>
struct KlDivForward {
  using Value = T;
  static constexpr bool kTargetIsClass = false;

  struct State {
    RowSum<T> all;
    Moments own;  // its gap: Σ t_c (log t_c + max − z_c)

    FASTLOSS_HOST_DEVICE void merge(const State& other) {
      const T larger = other.all.max > all.max ? other.all.max : all.max;
      own.merge(all.distance_to(larger), other.own, other.all.distance_to(larger));
      all.merge(other.all);
    }
  };

  struct Row {
    T value = 0;
    Normaliser<T> normaliser;
    T mass = 0;  // Σ t

    FASTLOSS_HOST_DEVICE bool counts() const { return normaliser.counts(); }
  };

  KlTarget<T> target_as;

  FASTLOSS_HOST_DEVICE bool takes_target(T t) const { return target_as.takes(t); }

  FASTLOSS_HOST_DEVICE State push(const T* __restrict z, const T* __restrict target, int64_t,
                                  int64_t count) const {
    return target_as.is_log ? push_as(KlTarget<T>{true}, z, target, count)
                            : push_as(KlTarget<T>{false}, z, target, count);
  }

  FASTLOSS_HOST_DEVICE Row finish(const State& state) const {
    if (state.all.empty()) return {};
    return {static_cast<T>(state.own.value(math::log(state.all.sum))), Normaliser<T>::of(state.all),
            static_cast<T>(state.own.mass)};
  }

  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict z, const T* __restrict target, int64_t,
                                    int64_t count, const Row& row, T factor,
                                    T* __restrict dscore) const {
    const Normaliser<T> normaliser = row.normaliser;
    const T share = factor * row.mass;
    if (target_as.is_log) {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        dscore[j] = share * normaliser.probability(z[j]) - factor * math::exp(target[j]);
      }
    } else {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        dscore[j] = share * normaliser.probability(z[j]) - factor * target[j];
      }
    }
  }

 private:
  FASTLOSS_HOST_DEVICE static State push_as(KlTarget<T> as, const T* __restrict z,
                                            const T* __restrict target, int64_t count) {
    const auto all = RowSum<T>::of(z, count);
    const T max = LseState<T>::shift(all.max);
    double mass = 0, gap = 0;
#pragma omp simd reduction(+ : mass, gap)
    for (int64_t j = 0; j < count; ++j) {
      const T t = as.probability(target[j]);
      mass += static_cast<double>(t);
      gap += static_cast<double>(t == T(0) ? T(0) : t * (as.log(target[j]) + (max - z[j])));
    }
    return {all, {mass, gap}};
  }
};

template <class T>
struct KlDivReverse {
  using Value = T;
  static constexpr bool kTargetIsClass = false;

  struct State {
    RowSum<T> all;
    double cross = 0;  // Σ exp(z_c − max) (z_c − max − log t_c)

    FASTLOSS_HOST_DEVICE void merge(const State& other) {
      const T larger = other.all.max > all.max ? other.all.max : all.max;
      cross = moved(larger) + other.moved(larger);
      all.merge(other.all);
    }

   private:
    FASTLOSS_HOST_DEVICE double moved(T larger) const {
      return all.factor_to(larger) * (cross - all.sum * all.distance_to(larger));
    }
  };

  struct Row {
    T value = 0;
    Normaliser<T> normaliser;
    T shift = 0;  // L + log Σ exp(z_c − max): log p_c − L is z_c − max less this

    FASTLOSS_HOST_DEVICE bool counts() const { return normaliser.counts(); }
  };

  KlTarget<T> target_as;

  FASTLOSS_HOST_DEVICE bool takes_target(T t) const { return target_as.takes(t); }

  FASTLOSS_HOST_DEVICE State push(const T* __restrict z, const T* __restrict target, int64_t,
                                  int64_t count) const {
    return target_as.is_log ? push_as(KlTarget<T>{true}, z, target, count)
                            : push_as(KlTarget<T>{false}, z, target, count);
  }

  FASTLOSS_HOST_DEVICE Row finish(const State& state) const {
    if (state.all.empty()) return {};
    const double mean = state.cross / state.all.sum;
    return {static_cast<T>(mean - math::log(state.all.sum)), Normaliser<T>::of(state.all),
            static_cast<T>(mean)};
  }

  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict z, const T* __restrict target, int64_t,
                                    int64_t count, const Row& row, T factor,
                                    T* __restrict dscore) const {
    if (target_as.is_log) {
      dscores_as(KlTarget<T>{true}, z, target, count, row, factor, dscore);
    } else {
      dscores_as(KlTarget<T>{false}, z, target, count, row, factor, dscore);
    }
  }

 private:
  FASTLOSS_HOST_DEVICE static State push_as(KlTarget<T> as, const T* __restrict z,
                                            const T* __restrict target, int64_t count) {
    const T max = max_of(z, count);
    const T reference = LseState<T>::shift(max);
    double sum = 0, cross = 0;
#pragma omp simd reduction(+ : sum, cross)
    for (int64_t j = 0; j < count; ++j) {
      const T gap = z[j] - reference, e = math::exp_up_to_0(gap);
      sum += static_cast<double>(e);
      cross += static_cast<double>(e == T(0) ? T(0) : e * (gap - as.log(target[j])));
    }
    return {{max, sum}, cross};
  }

  FASTLOSS_HOST_DEVICE static void dscores_as(KlTarget<T> as, const T* __restrict z,
                                              const T* __restrict target, int64_t count,
                                              const Row& row, T factor, T* __restrict dscore) {
    const Normaliser<T> normaliser = row.normaliser;
    const T shift = row.shift;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      const T p = normaliser.probability(z[j]);
      const T excess = ((z[j] - normaliser.max) - as.log(target[j])) - shift;
      dscore[j] = p == T(0) ? T(0) : factor * p * excess;
    }
  }
};

}  // namespace fastloss
