// The log-sum-exp of a row's scores itself: L = log Σ_j exp s_j, ∂L/∂s_j = exp(s_j − L).
//
// There is no target. The sum of no terms is −inf, with derivative 0 everywhere.
#pragma once

#include "core/lse.h"

namespace fastloss {

template <class T>
struct PairwiseLogSumExp {
  using Value = T;

  struct State {
    LseState<T> lse;

    FASTLOSS_HOST_DEVICE void merge(const State& other) { lse.merge(other.lse); }
  };

  struct Row {
    T value;
    Normaliser<T> normaliser;
    T dtarget;  // there is none: 0

    FASTLOSS_HOST_DEVICE static bool counts() { return true; }
  };

  static constexpr bool kHasTarget = false;
  static constexpr int kOptions = 0;
  static PairwiseLogSumExp make(const double* /*options*/, const T* /*key_weight*/) { return {}; }

  FASTLOSS_HOST_DEVICE static State push(const T* z, const T* bias, int64_t /*column*/,
                                         int64_t count) {
    return {lse_of_span(z, bias, count)};
  }
  FASTLOSS_HOST_DEVICE static bool weighs() { return true; }
  FASTLOSS_HOST_DEVICE static State weigh(T* z, const T* bias, const T* factor, int64_t count) {
    return {weigh_span(z, bias, factor, count)};
  }
  FASTLOSS_HOST_DEVICE static T weigh_factor(const State& span, const Row& row) {
    return row.normaliser.probability(span.lse.max);
  }
  FASTLOSS_HOST_DEVICE static Row finish(const State& state, T /*target*/, int64_t /*column*/ = 0) {
    if (state.lse.empty()) return {-math::kInfinity<T>, {}, T(0)};
    return {state.lse.value(), Normaliser<T>::of(state.lse), T(0)};
  }
  FASTLOSS_HOST_DEVICE static void dscores(const T* __restrict z, const T* __restrict bias,
                                           int64_t /*column*/, int64_t count, const Row& row,
                                           T factor, T* __restrict dscore) {
    const Normaliser<T> normaliser = row.normaliser;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      dscore[j] = factor * normaliser.probability(z[j] + bias[j]);
    }
  }
};

}  // namespace fastloss
