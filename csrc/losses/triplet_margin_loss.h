// Triplet margin loss: the positive nearer than the negative by a margin m,
//     L = hinge(x),      x = d₊ − d₋ + m,      ∂L/∂d₊ = hinge'(x) = −∂L/∂d₋.
#pragma once

#include "losses/hinge.h"

namespace fastloss {

template <class T>
struct TripletMarginLoss {
  T margin;
  Hinge hinge;

  // The derivative is that by d₊.
  FASTLOSS_HOST_DEVICE Element<T> at(T positive, T negative) const {
    return hinged(hinge, positive - negative + margin);
  }
};

}  // namespace fastloss
