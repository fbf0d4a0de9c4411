// Pairwise hinge, one pair of a list: item i has the higher label, t = s_i − s_j, v = m − t.
//
//     power 1: value v₊,   derivative by t: −[v > 0]
//     power 2: value v₊²,  derivative by t: −2 v₊
// At the kink, v = 0, value and derivative are 0. `v ≤ 0` is asked rather than `v > 0`, so that
// the difference of two equal infinities, NaN, stays NaN.
#pragma once

#include <limits>

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
  T linear, squared;  // 1 and 0, or 0 and 1: a condition would keep loops from being vectorised
  PairRules rules;

  explicit PairwiseHingeLoss(const Options& options)
      : margin(static_cast<T>(options.margin)),
        linear(options.power == 1 ? T(1) : T(0)),
        squared(options.power == 2 ? T(1) : T(0)),
        rules(options.rules) {}

  FASTLOSS_HOST_DEVICE PairTerm<T> pair(T t) const {
    const T v = margin - t;
    const T hinge = v <= T(0) ? T(0) : v;
    const T active = v <= T(0) ? T(0) : T(1);
    // 0 · ∞ is NaN: what is multiplied by the one that is 0 is kept finite.
    constexpr T kMax = std::numeric_limits<T>::max();
    const T finite = hinge > kMax ? kMax : hinge;
    return {hinge * (linear + squared * finite), -(active * linear + (T(2) * squared) * finite)};
  }

  FASTLOSS_HOST_DEVICE PairTerm<T> tie(T) const { return {T(0), T(0)}; }

  SweepForm sweep() const {
    return {.margin = static_cast<double>(margin), .power = squared == T(1) ? 2 : 1};
  }
};

}  // namespace fastloss
