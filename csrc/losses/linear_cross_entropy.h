// Cross-entropy of a linear classifier, one row: softmax over the classes' scores s_c, of which the
// target's, s_t, is kept apart as in info_nce.h (N = log Σ_{c ≠ t} exp s_c, lse the whole sum).
//
// With class weights w, smoothing ε and A classes that are not removed (score −inf),
//     L = (1 − ε) w_t (lse − s_t) + (ε / A) Σ_c w_c (lse − s_c),       W = Σ_c w_c,
//     ∂L/∂s_c = a p_c − u w_c − [c = t] (1 − ε) w_t,    u = ε / A,  a = (1 − ε) w_t + u W.
// lse − s_t = softplus(N − s_t) and 1 − p_t = Σ_{c ≠ t} p_c, so that the target's derivative is
//     ∂L/∂s_t = −(1 − ε) w_t Σ_{c ≠ t} p_c + u (W p_t − w_t)
// without a difference of nearly equal numbers. The class weights are part of the loss of a row: a
// mean divides by Σ_i w_{t_i}, which the engine is told separately (pairwise.h, divisors).
// A row without classes has nothing to average.
#pragma once

#include "core/lse.h"

namespace fastloss {

template <class T>
struct LinearCrossEntropy {
  using Value = T;

  // Σ w_c s_c, Σ w_c and the number of the scores that are not masked.
  struct WeightedScores {
    T total = 0;
    T weight = 0;
    T count = 0;

    FASTLOSS_HOST_DEVICE void merge(const WeightedScores& other) {
      total += other.total;
      weight += other.weight;
      count += other.count;
    }
  };

  struct State {
    LseState<T> lse;
    WeightedScores scores;  // kept only when smoothing

    FASTLOSS_HOST_DEVICE void merge(const State& other) {
      lse.merge(other.lse);
      scores.merge(other.scores);
    }
  };

  struct Row {
    T value;
    Normaliser<T> normaliser;
    T share;    // a
    T uniform;  // u
    T dtarget;

    FASTLOSS_HOST_DEVICE bool counts() const { return normaliser.counts(); }
  };

  T smoothing;
  const T* class_weight;  // (classes) or null: all 1

  static constexpr bool kHasTarget = true;
  static constexpr int kOptions = 1;
  static LinearCrossEntropy make(const double* options, const T* key_weight) {
    return {static_cast<T>(options[0]), key_weight};
  }

  FASTLOSS_HOST_DEVICE State push(const T* z, const T* bias, int64_t column, int64_t count) const {
    return {lse_of_span(z, bias, count),
            smoothing > T(0) ? weighted_sum(z, bias, column, count) : WeightedScores{}};
  }

  FASTLOSS_HOST_DEVICE bool weighs() const { return !(smoothing > T(0)); }
  FASTLOSS_HOST_DEVICE State weigh(T* z, const T* bias, const T* factor, int64_t count) const {
    return {weigh_span(z, bias, factor, count), {}};
  }
  FASTLOSS_HOST_DEVICE static T weigh_factor(const State& span, const Row& row) {
    return row.share * row.normaliser.probability(span.lse.max);
  }

  FASTLOSS_HOST_DEVICE Row finish(State others, T target, int64_t column) const {
    LseState<T> every = others.lse;
    every.push(target);
    if (every.empty()) return {};
    const auto normaliser = Normaliser<T>::of(every);
    // Rows without a class are ignored, or refused: they are finished, and not used.
    const T weight = column >= 0 ? weight_of(column) : T(0);
    const T kept = (T(1) - smoothing) * weight;
    // A class of weight 0 costs nothing, not even where its loss is infinite.
    const T own = kept == T(0) ? T(0) : kept * math::softplus(others.lse.above(target));
    const T down = kept * normaliser.probability(others.lse);
    if (!(smoothing > T(0))) return {own, normaliser, kept, T(0), -down};
    const bool removed = target == -math::kInfinity<T>;
    if (!removed) others.scores.merge({weight * target, weight, T(1)});
    const T u = smoothing / others.scores.count;
    const T all = others.scores.weight;
    return {own + u * (all * every.value() - others.scores.total), normaliser, kept + u * all, u,
            -down + u * (all * normaliser.probability(target) - (removed ? T(0) : weight))};
  }

  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict z, const T* __restrict bias, int64_t column,
                                    int64_t count, const Row& row, T factor,
                                    T* __restrict dscore) const {
    const Normaliser<T> normaliser = row.normaliser;
    const T share = factor * row.share, u = factor * row.uniform;
    const T* __restrict weight = class_weight != nullptr ? class_weight + column : nullptr;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      dscore[j] = share * normaliser.probability(z[j] + bias[j]);
    }
    if (!(smoothing > T(0))) return;
    for (int64_t j = 0; j < count; ++j) {
      const bool masked = z[j] + bias[j] == -math::kInfinity<T>;
      dscore[j] -= masked ? T(0) : weight != nullptr ? u * weight[j] : u;
    }
  }

 private:
  FASTLOSS_HOST_DEVICE T weight_of(int64_t column) const {
    return class_weight != nullptr ? class_weight[column] : T(1);
  }

  FASTLOSS_HOST_DEVICE WeightedScores weighted_sum(const T* __restrict z, const T* __restrict bias,
                                                   int64_t column, int64_t count) const {
    T total = 0, weight = 0, allowed = 0;
#pragma omp simd reduction(+ : total, weight, allowed)
    for (int64_t j = 0; j < count; ++j) {
      const T score = z[j] + bias[j];
      const bool masked = score == -math::kInfinity<T>;
      const T w = masked ? T(0) : weight_of(column + j);
      total += masked ? T(0) : w * score;
      weight += w;
      allowed += masked ? T(0) : T(1);
    }
    return {total, weight, allowed};
  }
};

}  // namespace fastloss
