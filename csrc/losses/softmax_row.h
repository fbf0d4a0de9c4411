// What the losses of a row of logits z_c share: its log-sum-exp, kept in two parts, and sums of
// products with the logits, taken relative to their maximum.
//
// lse = max + log Σ exp(z_c − max) would round away, at an offset of 1 000, what z_c − max holds
// exactly: p_c = exp(z_c − max) / Σ is formed from the parts. For the same reason a sum Σ q_c z_c
// is kept as Σ q_c (max − z_c), whose terms are not negative: Σ q_c (lse − z_c) is that plus log Σ
// times Σ q_c. These two nearly cancel where the loss is small, so that sums along a row stay in
// double until the row's value is formed.
#pragma once

#include "core/lanes.h"
#include "core/lse.h"

namespace fastloss {

template <class T>
FASTLOSS_HOST_DEVICE T max_of(const T* __restrict z, int64_t count) {
  return max_of_scores<T>(count, [=](int64_t j) FASTLOSS_SIMD_LOOP { return z[j]; });
}

// Σ exp(z_c − max); the maximum, which is a logit, and differences of maxima are exact in T.
template <class T>
struct RowSum {
  T max = -math::kInfinity<T>;
  double sum = 0;

  static FASTLOSS_HOST_DEVICE RowSum of(const T* __restrict z, int64_t count) {
    const T max = max_of(z, count);
    const T reference = LseState<T>::shift(max);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < count; ++j) {
      sum += static_cast<double>(math::exp_up_to_0(z[j] - reference));
    }
    return {max, sum};
  }

  FASTLOSS_HOST_DEVICE void merge(const RowSum& other) {
    const T larger = other.max > max ? other.max : max;
    sum = sum * factor_to(larger) + other.sum * other.factor_to(larger);
    max = larger;
  }

  FASTLOSS_HOST_DEVICE bool empty() const { return sum == 0; }

  // How far a larger maximum lies above this one; 0 if nothing was seen that could move.
  FASTLOSS_HOST_DEVICE double distance_to(T larger) const {
    return max == -math::kInfinity<T> ? 0 : static_cast<double>(larger) - static_cast<double>(max);
  }
  FASTLOSS_HOST_DEVICE double factor_to(T larger) const {
    return math::exp_up_to_0(-distance_to(larger));
  }
};

// The sums of rows side by side (core/lanes.h). Loops over lanes are plain ones: inside `omp simd`
// a struct that a member function is called on would be kept in memory, a copy a lane.
template <class T>
struct LaneSums {
  T max[kLanes];
  T reference[kLanes];  // the maximum, or 0 where that is −inf
  double sum[kLanes];

  FASTLOSS_HOST_DEVICE void find_max(const T* z, int64_t count, int64_t lanes) {
    for (int64_t r = 0; r < lanes; ++r) max[r] = -math::kInfinity<T>;
    for (int64_t c = 0; c < count; ++c) {
      const T* const in = z + c * kLanes;
      for (int64_t r = 0; r < lanes; ++r) max[r] = in[r] > max[r] ? in[r] : max[r];
    }
    for (int64_t r = 0; r < lanes; ++r) {
      reference[r] = LseState<T>::shift(max[r]);
      sum[r] = 0;
    }
  }
  FASTLOSS_HOST_DEVICE void of(const T* z, int64_t count, int64_t lanes) {
    find_max(z, count, lanes);
    for (int64_t c = 0; c < count; ++c) {
      const T* const in = z + c * kLanes;
      for (int64_t r = 0; r < lanes; ++r) {
        sum[r] += static_cast<double>(math::exp_up_to_0(in[r] - reference[r]));
      }
    }
  }
  FASTLOSS_HOST_DEVICE RowSum<T> operator[](int64_t r) const { return {max[r], sum[r]}; }
  FASTLOSS_HOST_DEVICE void set(int64_t r, const RowSum<T>& row) {
    max[r] = row.max;
    sum[r] = row.sum;
  }
};

// Σ q_c and Σ q_c (max − z_c).
struct Moments {
  double mass = 0;
  double gap = 0;

  // Both moved to the larger of their maxima.
  FASTLOSS_HOST_DEVICE void merge(double distance, const Moments& other, double other_distance) {
    gap = (gap + mass * distance) + (other.gap + other.mass * other_distance);
    mass += other.mass;
  }

  // Σ q_c (lse − z_c).
  FASTLOSS_HOST_DEVICE double value(double log_sum) const { return gap + mass * log_sum; }
};

struct LaneMoments {
  double mass[kLanes] = {};
  double gap[kLanes] = {};

  FASTLOSS_HOST_DEVICE Moments operator[](int64_t r) const { return {mass[r], gap[r]}; }
  FASTLOSS_HOST_DEVICE void set(int64_t r, const Moments& row) {
    mass[r] = row.mass;
    gap[r] = row.gap;
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
