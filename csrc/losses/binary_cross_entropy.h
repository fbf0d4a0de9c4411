// Binary cross-entropy of a probability p with target probability y:
//     L = −[y log p + (1 − y) log(1 − p)],      ∂L/∂p = (p − y) / (p (1 − p)).
// As torch has it, a logarithm never falls below −100, so that a wrong answer of probability 0 has
// a finite loss, and the denominator of the derivative never below 1e-12. log(1 − p) keeps its
// digits where p is small.
#pragma once

#include "core/element.h"
#include "core/math.h"

namespace fastloss {

template <class T>
struct BinaryCrossEntropy {
  static constexpr const char* kInputName = "input";
  static constexpr const char* kTargetName = "target";
  static constexpr const char* kInputRule = "must be probabilities in [0, 1]";
  static constexpr const char* kTargetRule = "must be probabilities in [0, 1]";

  FASTLOSS_HOST_DEVICE static bool takes_input(T p) { return !(p < T(0)) & !(p > T(1)); }
  FASTLOSS_HOST_DEVICE static bool takes_target(T y) { return takes_input(y); }

  FASTLOSS_HOST_DEVICE Element<T> at(T p, T y, T) const {
    const T log_p = math::log(p), log_q = math::log_complement(p);
    const T own = log_p < T(-100) ? T(-100) : log_p;
    const T other = log_q < T(-100) ? T(-100) : log_q;
    const T product = p * (T(1) - p);
    return {-(y * own + (T(1) - y) * other), (p - y) / (product < T(1e-12) ? T(1e-12) : product)};
  }
};

}  // namespace fastloss
