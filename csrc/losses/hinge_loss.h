// Hinge loss of a score s with label y = ±1, the soft-margin classifier's:
//     L = max(0, 1 − y s),      ∂L/∂s = −y where 1 − y s > 0, else 0.
#pragma once

#include "core/element.h"
#include "core/host_device.h"

namespace fastloss {

template <class T>
struct HingeLoss {
  static constexpr const char* kInputName = "scores";
  static constexpr const char* kTargetName = "labels";
  static constexpr const char* kInputRule = nullptr;
  static constexpr const char* kTargetRule =
      "must be -1 or 1 (labels 0 and 1 map to 2 * labels - 1)";

  FASTLOSS_HOST_DEVICE static bool takes_input(T) { return true; }
  FASTLOSS_HOST_DEVICE static bool takes_target(T label) {
    return (label == T(1)) | (label == T(-1)) | (label != label);
  }

  FASTLOSS_HOST_DEVICE Element<T> at(T score, T label, T) const {
    const T gap = T(1) - label * score;
    return {gap <= T(0) ? T(0) : gap,  // NaN stays
            gap <= T(0) ? T(0) : -label};
  }
};

}  // namespace fastloss
