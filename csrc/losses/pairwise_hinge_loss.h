// Pairwise hinge, one pair of a list: item i has the higher label, t = s_i − s_j, v = m − t.
//
//     power 1: value v₊,   derivative by t: −[v > 0]
//     power 2: value v₊²,  derivative by t: −2 v₊
// At the kink, v = 0, value and derivative are 0. `v ≤ 0` is asked rather than `v > 0`, so that
// the difference of two equal infinities, NaN, stays NaN.
#pragma once

#include "core/list_loss.h"
#include "core/math.h"

namespace fastloss {

struct PairwiseHingeOptions {
  double margin = 1;
  int power = 1;
  PairRules rules{};
};

template <class T>
struct PairwiseHingeLoss {
  using Value = T;
  using Options = PairwiseHingeOptions;
  static constexpr bool kLogistic = false;

  T margin;
  bool squared;
  PairRules rules;

  explicit PairwiseHingeLoss(const Options& options)
      : margin(static_cast<T>(options.margin)), squared(options.power == 2), rules(options.rules) {}

  FASTLOSS_HOST_DEVICE PairTerm<T> pair(T t) const {
    const T v = margin - t;
    const T hinge = v <= T(0) ? T(0) : v;
    return {squared ? hinge * hinge : hinge,
            squared ? T(-2) * hinge : (v <= T(0) ? T(0) : T(-1))};
  }

  FASTLOSS_HOST_DEVICE PairTerm<T> tie(T) const { return {T(0), T(0)}; }

  SweepForm sweep() const {
    return {.margin = static_cast<double>(margin), .power = squared ? 2 : 1};
  }
};

}  // namespace fastloss
