// What a loss of single scores gives for each: its value and its derivative.
#pragma once

namespace fastloss {

template <class T>
struct Element {
  T value;
  T derivative;  // ∂L/∂score
};

}  // namespace fastloss
