// Binary cross-entropy of a logit z with target probability y, positives weighted by v:
//     L = −[v y log σ(z) + (1 − y) log(1 − σ(z))].
// With −log σ(z) = softplus(−z) and −log(1 − σ(z)) = softplus(z),
//     L = v y softplus(−z) + (1 − y) softplus(z),
//     ∂L/∂z = (1 − y) σ(z) − v y σ(−z).
// For y in [0, 1] no term of L is negative and nothing cancels: a confident right answer keeps the
// digits of its small loss. At y = 1, σ(z) − 1 would lose those of the derivative.
#pragma once

#include "core/element.h"
#include "core/math.h"

namespace fastloss {

template <class T>
struct BinaryCrossEntropyWithLogits {
  static constexpr const char* kInputName = "input";
  static constexpr const char* kTargetName = "target";
  static constexpr const char* kInputRule = nullptr;
  static constexpr const char* kTargetRule = nullptr;

  FASTLOSS_HOST_DEVICE static bool takes_input(T) { return true; }
  FASTLOSS_HOST_DEVICE static bool takes_target(T) { return true; }

  FASTLOSS_HOST_DEVICE Element<T> at(T logit, T target, T positive_weight) const {
    const auto both = math::logistic(logit);
    const T own = positive_weight * target, other = T(1) - target;
    return {times(own, both.softplus_minus) + times(other, both.softplus),
            other * both.sigmoid - own * both.sigmoid_minus};
  }

 private:
  // 0 · ∞ = 0: a target of exactly 0 or 1 does not see the infinity of the other side.
  FASTLOSS_HOST_DEVICE static T times(T share, T loss) {
    return (share == T(0)) & (loss == math::kInfinity<T>) ? T(0) : share * loss;
  }
};

}  // namespace fastloss
