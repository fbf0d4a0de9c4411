// Cross-entropy of a row of logits z_c with a target: a class t, or a distribution over classes.
//
// With class weights w, smoothing ε, A classes that are not removed (logit −inf) and p =
// softmax(z),
//     L = Σ_c q_c (lse − z_c),      ∂L/∂z_c = Q p_c − q_c,      Q = Σ_c q_c,
// where the target's share of class c is
//     q_c = w_c ((1 − ε) t_c + ε / A),      t_c = [c = t] for a class.
// (lse − z_c differentiated is p_j − [j = c].) A class t stays out of the row's sum, which then
// holds the others only, N = log Σ_{c ≠ t} exp z_c: lse − z_t = softplus(N − z_t) and 1 − p_t =
// sigmoid(N − z_t) keep their digits where the target wins,
//     ∂L/∂z_t = −(1 − ε) w_t sigmoid(N − z_t) + u (W p_t − w_t),      u = ε / A,  W = Σ_c w_c.
// Sums with logits are taken relative to the maximum (softmax_row.h). A mean divides by Σ_i w_{t_i}
// for classes, by the number of rows for distributions: the engine does. A row without classes has
// nothing to average.
#pragma once

#include "core/simd.h"
#include "losses/softmax_row.h"

namespace fastloss {

// Calls body(weight_of) with the weights of a span's classes, null meaning that all are 1: one loop
// for each, because a branch inside would keep it from becoming vector code.
template <class T, class Body>
FASTLOSS_HOST_DEVICE void with_class_weights(const T* __restrict weight, const Body& body) {
  if (weight == nullptr) {
    body([](int64_t) FASTLOSS_SIMD_LOOP { return T(1); });
  } else {
    body([weight](int64_t j) FASTLOSS_SIMD_LOOP { return weight[j]; });
  }
}

// What both kinds of target need of the smoothing: the moments of the class weights.
struct SmoothedClasses {
  Moments weights;
  double count = 0;

  FASTLOSS_HOST_DEVICE void merge(double distance, const SmoothedClasses& other,
                                  double other_distance) {
    weights.merge(distance, other.weights, other_distance);
    count += other.count;
  }

  template <class T>
  FASTLOSS_HOST_DEVICE static SmoothedClasses of(const T* __restrict z, int64_t count,
                                                 const T* __restrict weight, T max) {
    double mass = 0, gap = 0, kept = 0;
    with_class_weights(weight, [&](const auto& weight_of) FASTLOSS_SIMD_LOOP {
#pragma omp simd reduction(+ : mass, gap, kept)
      for (int64_t j = 0; j < count; ++j) {
        const bool removed = z[j] == -math::kInfinity<T>;
        const T w = weight_of(j);
        mass += static_cast<double>(removed ? T(0) : w);
        gap += static_cast<double>(removed ? T(0) : w * (max - z[j]));
        kept += removed ? 0 : 1;
      }
    });
    return {{mass, gap}, kept};
  }
};

struct SmoothedLanes {
  LaneMoments weights;
  double count[kLanes] = {};

  // `weight`: of the classes, or null.
  template <class T>
  FASTLOSS_HOST_DEVICE void of(const T* z, int64_t classes, int64_t lanes, const T* weight,
                               const T* max) {
    for (int64_t c = 0; c < classes; ++c) {
      const T* const in = z + c * kLanes;
      const T w = weight != nullptr ? weight[c] : T(1);
      for (int64_t r = 0; r < lanes; ++r) {
        const bool removed = in[r] == -math::kInfinity<T>;
        weights.mass[r] += static_cast<double>(removed ? T(0) : w);
        weights.gap[r] += static_cast<double>(removed ? T(0) : w * (max[r] - in[r]));
        count[r] += removed ? 0 : 1;
      }
    }
  }
  FASTLOSS_HOST_DEVICE SmoothedClasses operator[](int64_t r) const {
    return {weights[r], count[r]};
  }
  FASTLOSS_HOST_DEVICE void set(int64_t r, const SmoothedClasses& row) {
    weights.set(r, row.weights);
    count[r] = row.count;
  }
};

// The target is a class.
template <class T>
struct CrossEntropy {
  using Value = T;
  static constexpr bool kTargetIsClass = true;

  struct State {
    RowSum<T> all;
    SmoothedClasses classes;  // kept only when smoothing

    FASTLOSS_HOST_DEVICE void merge(const State& other) {
      const T larger = other.all.max > all.max ? other.all.max : all.max;
      classes.merge(all.distance_to(larger), other.classes, other.all.distance_to(larger));
      all.merge(other.all);
    }
  };

  struct Lanes {
    LaneSums<T> all;
    SmoothedLanes classes;

    FASTLOSS_HOST_DEVICE State operator[](int64_t r) const { return {all[r], classes[r]}; }
    FASTLOSS_HOST_DEVICE void set(int64_t r, const State& state) {
      all.set(r, state.all);
      classes.set(r, state.classes);
    }
  };

  struct Row {
    T value = 0;
    Normaliser<T> normaliser;
    T share = 0;    // Q
    T uniform = 0;  // u
    T dtarget = 0;

    static constexpr int64_t kFields = 6;
    static FASTLOSS_HOST_DEVICE Row load(const T* fields, int64_t stride) {
      return {fields[0], Normaliser<T>::load(fields + stride, stride), fields[3 * stride],
              fields[4 * stride], fields[5 * stride]};
    }
    FASTLOSS_HOST_DEVICE void store(T* fields, int64_t stride) const {
      fields[0] = value;
      normaliser.store(fields + stride, stride);
      fields[3 * stride] = share;
      fields[4 * stride] = uniform;
      fields[5 * stride] = dtarget;
    }
    FASTLOSS_HOST_DEVICE bool counts() const { return normaliser.counts(); }
  };

  T smoothing;
  const T* class_weight;  // (classes) or null: all 1

  FASTLOSS_HOST_DEVICE T weight_of(int64_t column) const {
    return class_weight != nullptr ? class_weight[column] : T(1);
  }
  FASTLOSS_HOST_DEVICE const T* weights_from(int64_t column) const {
    return class_weight != nullptr ? class_weight + column : nullptr;
  }

  FASTLOSS_HOST_DEVICE State push(const T* z, const T*, int64_t column, int64_t count) const {
    const auto all = RowSum<T>::of(z, count);
    if (!(smoothing > T(0))) return {all, {}};
    return {all, SmoothedClasses::of(z, count, weights_from(column), LseState<T>::shift(all.max))};
  }

  FASTLOSS_HOST_DEVICE void push_lanes(const T* z, const T*, int64_t column, int64_t count,
                                       int64_t lanes, Lanes& states) const {
    states.all.of(z, count, lanes);
    if (!(smoothing > T(0))) return;
    states.classes.of(z, count, lanes, weights_from(column), states.all.reference);
  }

  // In double, rounded once. Branch-free: the rows of a tile are finished in one loop.
  FASTLOSS_HOST_DEVICE Row finish(const State& others, T target, T target_weight) const {
    const bool removed = target == -math::kInfinity<T>;
    const bool alone = others.all.empty(), smooth = smoothing > T(0);
    const double log_others = math::log(others.all.sum);  // relative to their maximum
    const double gap =
        alone ? -math::kInfinity<double>
              : (static_cast<double>(others.all.max) - static_cast<double>(target)) + log_others;
    const auto both = math::logistic(gap);
    const bool wins = !(others.all.max > target);
    const Normaliser<T> normaliser{
        wins ? target : others.all.max,
        static_cast<T>(wins ? both.sigmoid_minus : both.sigmoid / others.all.sum)};

    const double weight = target_weight, kept = (1 - static_cast<double>(smoothing)) * weight;
    // A class of weight 0 costs nothing, not even where its loss is infinite.
    const double own = kept == 0 ? 0 : kept * both.softplus;
    const double down = kept * both.sigmoid;
    const Moments& all = others.classes.weights;
    const double counted = removed ? 0 : weight;
    const double u = smooth ? smoothing / (others.classes.count + (removed ? 0 : 1)) : 0;
    // lse less the maximum of the others.
    const double lift = alone ? 0 : log_others + both.softplus_minus;
    const double sum = all.value(lift) + (counted == 0 ? 0 : counted * both.softplus);
    const double mass = all.mass + counted;
    const double dtarget = u * (mass * both.sigmoid_minus - counted) - down;
    const Row row{static_cast<T>(smooth ? own + u * sum : own), normaliser,
                  static_cast<T>(kept + u * mass), static_cast<T>(u), static_cast<T>(dtarget)};
    return removed & alone ? Row{} : row;
  }

  // Every column; the target's is to be replaced by factor · dtarget.
  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict z, const T*, int64_t column, int64_t count,
                                    const Row& row, T factor, T* __restrict dscore) const {
    const Normaliser<T> normaliser = row.normaliser;
    const T share = factor * row.share, u = factor * row.uniform;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) dscore[j] = share * normaliser.probability(z[j]);
    if (!(smoothing > T(0))) return;
    with_class_weights(weights_from(column), [&](const auto& weight_of) FASTLOSS_SIMD_LOOP {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        dscore[j] -= z[j] == -math::kInfinity<T> ? T(0) : u * weight_of(j);
      }
    });
  }

  FASTLOSS_HOST_DEVICE void dscores_lanes(const T* z, const T*, int64_t column, int64_t count,
                                          int64_t lanes, const T* rows, const T* factor,
                                          T* dscore) const {
    for (int64_t c = 0; c < count; ++c) {
      const T* const in = z + c * kLanes;
      T* const out = dscore + c * kLanes;
      for (int64_t r = 0; r < lanes; ++r) {
        const Row row = Row::load(rows + r, kLanes);
        out[r] = factor[r] * row.share * row.normaliser.probability(in[r]);
      }
      if (!(smoothing > T(0))) continue;
      const T w = weight_of(column + c);
      for (int64_t r = 0; r < lanes; ++r) {
        const T u = factor[r] * Row::load(rows + r, kLanes).uniform;
        out[r] -= in[r] == -math::kInfinity<T> ? T(0) : u * w;
      }
    }
  }
};

// The target is a distribution.
template <class T>
struct SoftCrossEntropy {
  using Value = T;
  static constexpr bool kTargetIsClass = false;

  struct State {
    RowSum<T> all;
    Moments own;
    SmoothedClasses classes;  // kept only when smoothing

    FASTLOSS_HOST_DEVICE void merge(const State& other) {
      const T larger = other.all.max > all.max ? other.all.max : all.max;
      const double distance = all.distance_to(larger);
      const double other_distance = other.all.distance_to(larger);
      own.merge(distance, other.own, other_distance);
      classes.merge(distance, other.classes, other_distance);
      all.merge(other.all);
    }
  };

  struct Lanes {
    LaneSums<T> all;
    LaneMoments own;
    SmoothedLanes classes;

    FASTLOSS_HOST_DEVICE State operator[](int64_t r) const { return {all[r], own[r], classes[r]}; }
    FASTLOSS_HOST_DEVICE void set(int64_t r, const State& state) {
      all.set(r, state.all);
      own.set(r, state.own);
      classes.set(r, state.classes);
    }
  };

  struct Row {
    T value = 0;
    Normaliser<T> normaliser;
    T share = 0;    // Q
    T uniform = 0;  // u

    static constexpr int64_t kFields = 5;
    static FASTLOSS_HOST_DEVICE Row load(const T* fields, int64_t stride) {
      return {fields[0], Normaliser<T>::load(fields + stride, stride), fields[3 * stride],
              fields[4 * stride]};
    }
    FASTLOSS_HOST_DEVICE void store(T* fields, int64_t stride) const {
      fields[0] = value;
      normaliser.store(fields + stride, stride);
      fields[3 * stride] = share;
      fields[4 * stride] = uniform;
    }
    FASTLOSS_HOST_DEVICE bool counts() const { return normaliser.counts(); }
  };

  T smoothing;
  const T* class_weight;

  FASTLOSS_HOST_DEVICE static bool takes_target(T t) { return is_probability(t); }

  FASTLOSS_HOST_DEVICE State push(const T* __restrict z, const T* __restrict target, int64_t column,
                                  int64_t count) const {
    const auto all = RowSum<T>::of(z, count);
    const T max = LseState<T>::shift(all.max);
    const T* __restrict weight = class_weight != nullptr ? class_weight + column : nullptr;
    double mass = 0, gap = 0;
    with_class_weights(weight, [&](const auto& weight_of) FASTLOSS_SIMD_LOOP {
#pragma omp simd reduction(+ : mass, gap)
      for (int64_t j = 0; j < count; ++j) {
        const T q = weight_of(j) * target[j];
        mass += static_cast<double>(q);
        gap += static_cast<double>(weighted_gap(q, max, z[j]));
      }
    });
    if (!(smoothing > T(0))) return {all, {mass, gap}, {}};
    return {all, {mass, gap}, SmoothedClasses::of(z, count, weight, max)};
  }

  FASTLOSS_HOST_DEVICE void push_lanes(const T* z, const T* target, int64_t column, int64_t count,
                                       int64_t lanes, Lanes& states) const {
    states.all.of(z, count, lanes);
    const T* const weight = class_weight != nullptr ? class_weight + column : nullptr;
    for (int64_t c = 0; c < count; ++c) {
      const T* const in = z + c * kLanes;
      const T* const t = target + c * kLanes;
      const T w = weight != nullptr ? weight[c] : T(1);
      for (int64_t r = 0; r < lanes; ++r) {
        const T q = w * t[r];
        states.own.mass[r] += static_cast<double>(q);
        states.own.gap[r] += static_cast<double>(weighted_gap(q, states.all.reference[r], in[r]));
      }
    }
    if (!(smoothing > T(0))) return;
    states.classes.of(z, count, lanes, weight, states.all.reference);
  }

  FASTLOSS_HOST_DEVICE Row finish(const State& state) const {
    const auto normaliser = Normaliser<T>::of(state.all);
    const double log_sum = math::log(state.all.sum), own = state.own.value(log_sum);
    const bool smooth = smoothing > T(0);
    const double kept = 1 - static_cast<double>(smoothing);
    const double u = smooth ? smoothing / state.classes.count : 0;
    const Moments& all = state.classes.weights;
    const double kept_own = kept == 0 ? 0 : kept * own;
    const Row row{static_cast<T>(smooth ? kept_own + u * all.value(log_sum) : own), normaliser,
                  static_cast<T>(kept * state.own.mass + u * all.mass), static_cast<T>(u)};
    return state.all.empty() ? Row{} : row;
  }

  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict z, const T* __restrict target,
                                    int64_t column, int64_t count, const Row& row, T factor,
                                    T* __restrict dscore) const {
    const Normaliser<T> normaliser = row.normaliser;
    const T share = factor * row.share, kept = factor * (T(1) - smoothing);
    const T u = factor * row.uniform;
    const T* __restrict weight = class_weight != nullptr ? class_weight + column : nullptr;
    with_class_weights(weight, [&](const auto& weight_of) FASTLOSS_SIMD_LOOP {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        const T q = kept * target[j] + (z[j] == -math::kInfinity<T> ? T(0) : u);
        dscore[j] = share * normaliser.probability(z[j]) - weight_of(j) * q;
      }
    });
  }

  FASTLOSS_HOST_DEVICE void dscores_lanes(const T* z, const T* target, int64_t column,
                                          int64_t count, int64_t lanes, const T* rows,
                                          const T* factor, T* dscore) const {
    for (int64_t c = 0; c < count; ++c) {
      const T* const in = z + c * kLanes;
      const T* const t = target + c * kLanes;
      T* const out = dscore + c * kLanes;
      const T w = class_weight != nullptr ? class_weight[column + c] : T(1);
      for (int64_t r = 0; r < lanes; ++r) {
        const Row row = Row::load(rows + r, kLanes);
        const T u = in[r] == -math::kInfinity<T> ? T(0) : factor[r] * row.uniform;
        const T q = factor[r] * (T(1) - smoothing) * t[r] + u;
        out[r] = factor[r] * row.share * row.normaliser.probability(in[r]) - w * q;
      }
    }
  }
};

}  // namespace fastloss
