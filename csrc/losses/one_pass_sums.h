// What scores add to their row in a loss without a normaliser. Sums are taken over short blocks and
// then in double, because a row may have millions of scores whose values are as small as they are
// many.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace fastloss {

// One score: its share of the loss, its derivative, and what that is a coefficient of when all
// similarities are multiplied by a number.
template <class T>
struct OnePassTerm {
  T value;
  T derivative;
  T lever;
};

struct OnePassSums {
  double value = 0;   // Σ of the scores' shares of the loss
  double slope = 0;   // Σ ∂L/∂s
  double moment = 0;  // Σ ∂L/∂s · lever

  template <class T>
  FASTLOSS_HOST_DEVICE static OnePassSums of(const OnePassTerm<T>& term) {
    return {static_cast<double>(term.value), static_cast<double>(term.derivative),
            term.derivative == T(0) ? 0 : static_cast<double>(term.derivative * term.lever)};
  }

  FASTLOSS_HOST_DEVICE void merge(const OnePassSums& other) {
    value += other.value;
    slope += other.slope;
    moment += other.moment;
  }
};

// Of the scores z[j], j < count, given the term of each; dscore[j] becomes its derivative. A lever
// without a derivative may be infinite: a masked score.
template <class T, class TermOf>
FASTLOSS_HOST_DEVICE OnePassSums sums_of_span(const T* __restrict z, int64_t count,
                                              const TermOf& term_of, T* __restrict dscore) {
  constexpr int64_t kBlock = 64;  // few enough additions that float32 is as good as eager's sum
  OnePassSums sums;
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t last = first + kBlock < count ? first + kBlock : count;
    T value = 0, slope = 0, moment = 0;
#pragma omp simd reduction(+ : value, slope, moment)
    for (int64_t j = first; j < last; ++j) {
      const OnePassTerm<T> term = term_of(z[j]);
      dscore[j] = term.derivative;
      value += term.value;
      slope += term.derivative;
      moment += term.derivative == T(0) ? T(0) : term.derivative * term.lever;
    }
    sums.merge(
        {static_cast<double>(value), static_cast<double>(slope), static_cast<double>(moment)});
  }
  return sums;
}

}  // namespace fastloss
