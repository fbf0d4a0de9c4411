// InfoNCE, one row: what the scores of a row make of loss and gradient. No loops, no memory.
//
// The row's target score is s_t; the other allowed scores s_j are known through N = log Σ_j exp s_j
// (and, for smoothing, their sum and number). With lse = log(e^N + e^{s_t}), A allowed keys in all
// and smoothing ε,
//     L = lse − (1 − ε) s_t − (ε / A) Σ_{all} s  =  (1 − ε) (lse − s_t) + ε (lse − mean s).
// lse − s_t = softplus(N − s_t): the target never enters N, so nothing cancels when the target wins
// and a loss of 1e-4 keeps all its digits (lse − s_t as a difference loses half of them).
//     ∂L/∂s_j = p_j − ε / A,                      p_j = exp(s_j − lse)
//     ∂L/∂s_t = p_t − (1 − ε) − ε / A  =  −(1 − ε) Σ_j p_j + ε (p_t − 1 / A),
// where 1 − p_t = Σ_j p_j again without a difference.
// Decoupled (Yeh et al. 2022, arXiv:2110.06848): the target leaves the denominator,
//     L = N − s_t,   ∂L/∂s_j = exp(s_j − N),   ∂L/∂s_t = −1.
// A row whose denominator is empty has nothing to average: value 0, every derivative 0.
#pragma once

#include <cmath>

#include "core/lse.h"

namespace fastloss {

template <class T>
struct InfoNce {
  using Value = T;

  // The allowed scores of a row but for the target's.
  struct State {
    LseState<T> lse;
    ScoreSum<T> scores;  // kept only when smoothing

    FASTLOSS_HOST_DEVICE void merge(const State& other) {
      lse.merge(other.lse);
      scores.merge(other.scores);
    }
  };

  // What backward needs of a row.
  struct Row {
    T value;                   // L
    Normaliser<T> normaliser;  // of lse, or of N when decoupled
    T uniform;                 // ε / A
    T dtarget;                 // ∂L/∂s_t

    FASTLOSS_HOST_DEVICE bool counts() const { return normaliser.counts(); }
  };

  T smoothing;
  bool decoupled;

  static constexpr bool kHasTarget = true;
  static constexpr bool kOwnsNegatives = true;
  static constexpr int kOptions = 2;
  static InfoNce make(const double* options, const T* /*key_weight*/) {
    return {static_cast<T>(options[0]), options[1] != 0};
  }

  // State of the scores similarity[j] + bias[j], j < count.
  FASTLOSS_HOST_DEVICE State push(const T* similarity, const T* bias, int64_t /*column*/,
                                  int64_t count) const {
    return {lse_of_span(similarity, bias, count),
            smoothing > T(0) ? sum_of_span(similarity, bias, count) : ScoreSum<T>{}};
  }

  // Whether p_j alone is the derivative, so that `weigh` and `weigh_factor` may stand for `dscore`.
  FASTLOSS_HOST_DEVICE bool weighs() const { return !(smoothing > T(0)); }

  // As push, and similarity[j] becomes exp(s_j − max of the span) · factor[j] …
  FASTLOSS_HOST_DEVICE State weigh(T* similarity, const T* bias, const T* factor,
                                   int64_t count) const {
    return {weigh_span(similarity, bias, factor, count), {}};
  }

  // … which this makes p_j · factor[j] once the row is known.
  FASTLOSS_HOST_DEVICE static T weigh_factor(const State& span, const Row& row) {
    return row.normaliser.probability(span.lse.max);
  }

  FASTLOSS_HOST_DEVICE Row finish(State others, T target, int64_t /*column*/ = 0) const {
    LseState<T> all = others.lse;
    if (!decoupled) all.push(target);
    if (all.empty()) return {};
    const auto normaliser = Normaliser<T>::of(all);
    const T gap = others.lse.above(target);  // N − s_t
    if (decoupled) return {gap, normaliser, T(0), T(-1)};
    const T missing = normaliser.probability(others.lse);  // 1 − p_t
    if (!(smoothing > T(0))) return {math::softplus(gap), normaliser, T(0), -missing};
    others.scores.push(target);
    const T uniform = smoothing / others.scores.count;
    const T kept = T(1) - smoothing;
    const T mean = others.scores.total / others.scores.count;
    return {kept * math::softplus(gap) + smoothing * all.above(mean), normaliser, uniform,
            smoothing * normaliser.probability(target) - kept * missing - uniform};
  }

  // dscore[j] = factor · ∂L/∂s_j of keys that are not the target.
  FASTLOSS_HOST_DEVICE static void dscores(const T* __restrict similarity, const T* __restrict bias,
                                           int64_t /*column*/, int64_t count, const Row& row,
                                           T factor, T* __restrict dscore) {
    const Normaliser<T> normaliser = row.normaliser;
    const T uniform = row.uniform;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      dscore[j] = factor * derivative(similarity[j] + bias[j], normaliser, uniform);
    }
  }
  // A masked score (−inf) has none.
  FASTLOSS_HOST_DEVICE static T derivative(T score, Normaliser<T> normaliser, T uniform) {
    const T derivative = normaliser.probability(score) - uniform;
    return score == -math::kInfinity<T> ? T(0) : derivative;
  }
};

}  // namespace fastloss
