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

#include "core/simd.h"
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

  // t (log t + max − z), the forward divergence's term.
  FASTLOSS_HOST_DEVICE T gap(T target, T max, T z) const {
    const T t = probability(target);
    return t == T(0) ? T(0) : t * (log(target) + (max - z));
  }
};

// Calls body(KlTarget) with a constant: a loop that asks at every element would not become vector
// code.
template <class T, class Body>
FASTLOSS_HOST_DEVICE auto with_target(KlTarget<T> as, const Body& body) {
  return as.is_log ? body(KlTarget<T>{true}) : body(KlTarget<T>{false});
}

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

  struct Lanes {
    LaneSums<T> all;
    LaneMoments own;

    FASTLOSS_HOST_DEVICE State operator[](int64_t r) const { return {all[r], own[r]}; }
    FASTLOSS_HOST_DEVICE void set(int64_t r, const State& state) {
      all.set(r, state.all);
      own.set(r, state.own);
    }
  };

  struct Row {
    T value = 0;
    Normaliser<T> normaliser;
    T mass = 0;  // Σ t

    static constexpr int64_t kFields = 4;
    static FASTLOSS_HOST_DEVICE Row load(const T* fields, int64_t stride) {
      return {fields[0], Normaliser<T>::load(fields + stride, stride), fields[3 * stride]};
    }
    FASTLOSS_HOST_DEVICE void store(T* fields, int64_t stride) const {
      fields[0] = value;
      normaliser.store(fields + stride, stride);
      fields[3 * stride] = mass;
    }
    FASTLOSS_HOST_DEVICE bool counts() const { return normaliser.counts(); }
  };

  KlTarget<T> target_as;

  FASTLOSS_HOST_DEVICE bool takes_target(T t) const { return target_as.takes(t); }

  FASTLOSS_HOST_DEVICE State push(const T* __restrict z, const T* __restrict target, int64_t,
                                  int64_t count) const {
    const auto all = RowSum<T>::of(z, count);
    const T max = LseState<T>::shift(all.max);
    double mass = 0, gap = 0;
    with_target(target_as, [&](const KlTarget<T> as) FASTLOSS_SIMD_LOOP {
#pragma omp simd reduction(+ : mass, gap)
      for (int64_t j = 0; j < count; ++j) {
        mass += static_cast<double>(as.probability(target[j]));
        gap += static_cast<double>(as.gap(target[j], max, z[j]));
      }
    });
    return {all, {mass, gap}};
  }

  FASTLOSS_HOST_DEVICE void push_lanes(const T* z, const T* target, int64_t, int64_t count,
                                       int64_t lanes, Lanes& states) const {
    states.all.of(z, count, lanes);
    with_target(target_as, [&](const KlTarget<T> as) FASTLOSS_SIMD_LOOP {
      for (int64_t c = 0; c < count; ++c) {
        const T* const in = z + c * kLanes;
        const T* const t = target + c * kLanes;
        for (int64_t r = 0; r < lanes; ++r) {
          states.own.mass[r] += static_cast<double>(as.probability(t[r]));
          states.own.gap[r] += static_cast<double>(as.gap(t[r], states.all.reference[r], in[r]));
        }
      }
    });
  }

  FASTLOSS_HOST_DEVICE Row finish(const State& state) const {
    const Row row{static_cast<T>(state.own.value(math::log(state.all.sum))),
                  Normaliser<T>::of(state.all), static_cast<T>(state.own.mass)};
    return state.all.empty() ? Row{} : row;
  }

  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict z, const T* __restrict target, int64_t,
                                    int64_t count, const Row& row, T factor,
                                    T* __restrict dscore) const {
    const Normaliser<T> normaliser = row.normaliser;
    const T share = factor * row.mass;
    with_target(target_as, [&](const KlTarget<T> as) FASTLOSS_SIMD_LOOP {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        dscore[j] = share * normaliser.probability(z[j]) - factor * as.probability(target[j]);
      }
    });
  }

  FASTLOSS_HOST_DEVICE void dscores_lanes(const T* z, const T* target, int64_t, int64_t count,
                                          int64_t lanes, const T* rows, const T* factor,
                                          T* dscore) const {
    with_target(target_as, [&](const KlTarget<T> as) FASTLOSS_SIMD_LOOP {
      for (int64_t c = 0; c < count; ++c) {
        const T* const in = z + c * kLanes;
        const T* const t = target + c * kLanes;
        T* const out = dscore + c * kLanes;
        for (int64_t r = 0; r < lanes; ++r) {
          const Row row = Row::load(rows + r, kLanes);
          out[r] = factor[r] * row.mass * row.normaliser.probability(in[r]) -
                   factor[r] * as.probability(t[r]);
        }
      }
    });
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

  struct Lanes {
    LaneSums<T> all;
    double cross[kLanes] = {};

    FASTLOSS_HOST_DEVICE State operator[](int64_t r) const { return {all[r], cross[r]}; }
    FASTLOSS_HOST_DEVICE void set(int64_t r, const State& state) {
      all.set(r, state.all);
      cross[r] = state.cross;
    }
  };

  struct Row {
    T value = 0;
    Normaliser<T> normaliser;
    T shift = 0;  // L + log Σ exp(z_c − max): log p_c − L is z_c − max less this

    static constexpr int64_t kFields = 4;
    static FASTLOSS_HOST_DEVICE Row load(const T* fields, int64_t stride) {
      return {fields[0], Normaliser<T>::load(fields + stride, stride), fields[3 * stride]};
    }
    FASTLOSS_HOST_DEVICE void store(T* fields, int64_t stride) const {
      fields[0] = value;
      normaliser.store(fields + stride, stride);
      fields[3 * stride] = shift;
    }
    FASTLOSS_HOST_DEVICE bool counts() const { return normaliser.counts(); }
  };

  KlTarget<T> target_as;

  FASTLOSS_HOST_DEVICE bool takes_target(T t) const { return target_as.takes(t); }

  FASTLOSS_HOST_DEVICE State push(const T* __restrict z, const T* __restrict target, int64_t,
                                  int64_t count) const {
    const T max = max_of(z, count);
    const T reference = LseState<T>::shift(max);
    double sum = 0, cross = 0;
    with_target(target_as, [&](const KlTarget<T> as) FASTLOSS_SIMD_LOOP {
#pragma omp simd reduction(+ : sum, cross)
      for (int64_t j = 0; j < count; ++j) {
        const T gap = z[j] - reference, e = math::exp_up_to_0(gap);
        sum += static_cast<double>(e);
        cross += static_cast<double>(cross_term(as, e, gap, target[j]));
      }
    });
    return {{max, sum}, cross};
  }

  FASTLOSS_HOST_DEVICE void push_lanes(const T* z, const T* target, int64_t, int64_t count,
                                       int64_t lanes, Lanes& states) const {
    states.all.find_max(z, count, lanes);
    with_target(target_as, [&](const KlTarget<T> as) FASTLOSS_SIMD_LOOP {
      for (int64_t c = 0; c < count; ++c) {
        const T* const in = z + c * kLanes;
        const T* const t = target + c * kLanes;
        for (int64_t r = 0; r < lanes; ++r) {
          const T gap = in[r] - states.all.reference[r], e = math::exp_up_to_0(gap);
          states.all.sum[r] += static_cast<double>(e);
          states.cross[r] += static_cast<double>(cross_term(as, e, gap, t[r]));
        }
      }
    });
  }

  FASTLOSS_HOST_DEVICE Row finish(const State& state) const {
    const double mean = state.cross / state.all.sum;
    const Row row{static_cast<T>(mean - math::log(state.all.sum)), Normaliser<T>::of(state.all),
                  static_cast<T>(mean)};
    return state.all.empty() ? Row{} : row;
  }

  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict z, const T* __restrict target, int64_t,
                                    int64_t count, const Row& row, T factor,
                                    T* __restrict dscore) const {
    const Normaliser<T> normaliser = row.normaliser;
    const T shift = row.shift;
    with_target(target_as, [&](const KlTarget<T> as) FASTLOSS_SIMD_LOOP {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        dscore[j] = dscore_of(as, normaliser, shift, factor, z[j], target[j]);
      }
    });
  }

  FASTLOSS_HOST_DEVICE void dscores_lanes(const T* z, const T* target, int64_t, int64_t count,
                                          int64_t lanes, const T* rows, const T* factor,
                                          T* dscore) const {
    with_target(target_as, [&](const KlTarget<T> as) FASTLOSS_SIMD_LOOP {
      for (int64_t c = 0; c < count; ++c) {
        const T* const in = z + c * kLanes;
        const T* const t = target + c * kLanes;
        T* const out = dscore + c * kLanes;
        for (int64_t r = 0; r < lanes; ++r) {
          const Row row = Row::load(rows + r, kLanes);
          out[r] = dscore_of(as, row.normaliser, row.shift, factor[r], in[r], t[r]);
        }
      }
    });
  }

 private:
  FASTLOSS_HOST_DEVICE static T cross_term(KlTarget<T> as, T e, T gap, T target) {
    return e == T(0) ? T(0) : e * (gap - as.log(target));
  }

  FASTLOSS_HOST_DEVICE static T dscore_of(KlTarget<T> as, Normaliser<T> normaliser, T shift,
                                          T factor, T z, T target) {
    const T p = normaliser.probability(z);
    const T excess = ((z - normaliser.max) - as.log(target)) - shift;
    return p == T(0) ? T(0) : factor * p * excess;
  }
};

}  // namespace fastloss
