// The hinges of the margin losses: what makes a loss of a gap x that should be negative.
//     relu       max(0, x)          slope 1 where x > 0, else 0
//     softplus   log(1 + eˣ)        slope σ(x)
//     none       x                  slope 1
#pragma once

#include "core/element.h"
#include "core/math.h"

namespace fastloss {

enum class Hinge { kRelu, kSoftplus, kNone };

template <class T>
FASTLOSS_HOST_DEVICE Element<T> hinged(Hinge hinge, T x) {
  if (hinge == Hinge::kNone) return {x, T(1)};
  if (hinge == Hinge::kSoftplus) {
    const auto both = math::logistic(x);
    return {both.softplus, both.sigmoid};
  }
  if (x <= T(0)) return {T(0), T(0)};
  return {x, x == x ? T(1) : x};  // NaN stays, in the gradient too
}

}  // namespace fastloss
