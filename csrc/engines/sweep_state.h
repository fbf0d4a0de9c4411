// What a sorted sweep knows of the items it has passed, and how that ages as it moves on.
//
// At a place p of the sorted axis, with t = |p − key| of the items passed and w their weights:
//     weight = Σ w,   first = Σ w t,   second = Σ w t²,   decayed_k = Σ w e^{−kt},  k = 1 … R.
// Moving on by δ: second += δ (2 first + weight δ), first += weight δ, decayed_k *= e^{−kδ}. All
// terms are positive and relative to the present place, so that nothing cancels, whatever the
// scores' offset. States of disjoint items at one place add up: a monoid.
//
// The R sums are vectors of four lanes, written out because they are the loop's registers.
#pragma once

#include "core/exponential_sums.h"
#include "core/host_device.h"

namespace fastloss {

// The terms of a loss without exponentials.
struct NoExponentials {
  static constexpr int kTerms = 0;
  static constexpr double kSigmoid[1] = {0};
  static constexpr double kLog1p[1] = {0};
};

namespace sweep {

using Lanes = double __attribute__((vector_size(32)));
using LaneMask = long long __attribute__((vector_size(32)));

FASTLOSS_HOST_DEVICE double sum_of(const Lanes& v) { return (v[0] + v[1]) + (v[2] + v[3]); }

template <int R>
struct Vectors {
  static_assert(R % 4 == 0);
  static constexpr int kCount = R / 4;
  Lanes lane[kCount > 0 ? kCount : 1];
};

// x, x², …, x^R
template <int R>
FASTLOSS_HOST_DEVICE Vectors<R> powers_of(double x) {
  Vectors<R> result{};
  if constexpr (R > 0) {
    const Lanes one = {1, 1, 1, 1}, all = {x, x, x, x};
    const Lanes square = all * all;
    result.lane[0] =
        all * (LaneMask{0, -1, 0, -1} ? all : one) * (LaneMask{0, 0, -1, -1} ? square : one);
    const Lanes fourth = square * square;
    for (int v = 1; v < Vectors<R>::kCount; ++v) result.lane[v] = result.lane[v - 1] * fourth;
  }
  return result;
}

template <int R>
FASTLOSS_HOST_DEVICE Vectors<R> vectors_of(const double* values) {
  Vectors<R> result{};
  for (int k = 0; k < R; ++k) result.lane[k / 4][k % 4] = values[k];
  return result;
}

template <int R>
struct State {
  Vectors<R> decayed{};
  double weight = 0;
  double first = 0;
  double second = 0;

  // `decay` = e^{−step}
  FASTLOSS_HOST_DEVICE void move(double step, const Vectors<R>& decay) {
    second += step * (2 * first + weight * step);
    first += weight * step;
    for (int v = 0; v < Vectors<R>::kCount; ++v) decayed.lane[v] *= decay.lane[v];
  }
  // An item at this place.
  FASTLOSS_HOST_DEVICE void add(double w) {
    weight += w;
    for (int v = 0; v < Vectors<R>::kCount; ++v) decayed.lane[v] += w;
  }
  FASTLOSS_HOST_DEVICE void add(const State& other) {
    weight += other.weight;
    first += other.first;
    second += other.second;
    for (int v = 0; v < Vectors<R>::kCount; ++v) decayed.lane[v] += other.decayed.lane[v];
  }
};

}  // namespace sweep
}  // namespace fastloss
