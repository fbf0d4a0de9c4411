// What the losses of a row of logits z_c share: its log-sum-exp, kept in two parts, and sums of
// products with the logits, taken relative to their maximum.
//
// lse = max + log Σ exp(z_c − max) would round away, at an offset of 1 000, what z_c − max holds
// exactly: p_c = exp((z_c − max) − log Σ) is formed from the parts. For the same reason a sum
// Σ q_c z_c is kept as Σ q_c (max − z_c), whose terms are not negative: Σ q_c (lse − z_c) is that
// plus log Σ times Σ q_c.
#pragma once

#include "core/lse.h"

namespace fastloss {

template <class T>
FASTLOSS_HOST_DEVICE T max_of(const T* __restrict z, int64_t count) {
  T max = -math::kInfinity<T>;
#pragma omp simd reduction(max : max)
  for (int64_t j = 0; j < count; ++j) max = z[j] > max ? z[j] : max;
  return max;
}

template <class T>
FASTLOSS_HOST_DEVICE LseState<T> lse_of(const T* __restrict z, int64_t count) {
  const T max = max_of(z, count);
  const T reference = LseState<T>::shift(max);
  double sum = 0;  // as all sums along a row here: rows are long
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) {
    sum += static_cast<double>(math::exp_up_to_0(z[j] - reference));
  }
  return {max, static_cast<T>(sum)};
}

template <class T>
struct Normaliser {
  T max = 0;
  T log_sum = math::kInfinity<T>;  // +inf: a row without logits, all probabilities 0

  static FASTLOSS_HOST_DEVICE Normaliser of(const LseState<T>& lse) {
    if (lse.sum == T(0)) return {};
    return {LseState<T>::shift(lse.max), math::log(lse.sum)};
  }
  FASTLOSS_HOST_DEVICE bool counts() const { return !(log_sum == math::kInfinity<T>); }
  FASTLOSS_HOST_DEVICE T log_probability(T z) const { return (z - max) - log_sum; }
  FASTLOSS_HOST_DEVICE T probability(T z) const { return math::exp_up_to_0(log_probability(z)); }
};

// Σ q_c and Σ q_c (max − z_c).
template <class T>
struct Moments {
  T mass = 0;
  T gap = 0;

  // To be called before the maxima are merged: the sum moves to the larger one.
  FASTLOSS_HOST_DEVICE void merge(T max, const Moments& other, T other_max) {
    const T larger = other_max > max ? other_max : max;
    gap = (gap + mass * distance(max, larger)) +
          (other.gap + other.mass * distance(other_max, larger));
    mass += other.mass;
  }

 private:
  // −inf: nothing was seen that could move.
  FASTLOSS_HOST_DEVICE static T distance(T max, T larger) {
    return max == -math::kInfinity<T> ? T(0) : larger - max;
  }
};

// q (max − z), where a share of 0 does not see a logit of −inf.
template <class T>
FASTLOSS_HOST_DEVICE T weighted_gap(T q, T max, T z) {
  return (q == T(0)) & (z == -math::kInfinity<T>) ? T(0) : q * (max - z);
}

// A probability in a distribution that may itself be a rounded sum: up to a unit of bfloat16
// above 1.
template <class T>
FASTLOSS_HOST_DEVICE bool is_probability(T t) {
  return !(t < T(0)) & !(t > T(1.0078125));
}

}  // namespace fastloss
