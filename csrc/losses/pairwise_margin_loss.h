// Margin loss of a positive p and a negative n of one row,
//     L = max(0, μ + g),      ∂L/∂g = 1 where μ + g > 0, else 0,      g = n − p.
#pragma once

#include "core/element.h"
#include "core/host_device.h"

namespace fastloss {

template <class T>
struct PairwiseMarginLoss {
  T margin;

  FASTLOSS_HOST_DEVICE Element<T> at(T gap) const {
    const T excess = margin + gap;
    return {excess <= T(0) ? T(0) : excess,  // NaN stays
            excess <= T(0) ? T(0) : T(1)};
  }
};

}  // namespace fastloss
