// Bayesian personalised ranking: a positive p and a negative n of one row,
//     L = −log σ(p − n) = softplus(g),      ∂L/∂g = σ(g),      g = n − p.
#pragma once

#include "core/element.h"
#include "core/math.h"

namespace fastloss {

template <class T>
struct BprLoss {
  FASTLOSS_HOST_DEVICE Element<T> at(T gap) const {
    const auto both = math::logistic(gap);
    return {both.softplus, both.sigmoid};
  }
};

}  // namespace fastloss
