// Semi-hard triplets (Schroff et al. 2015), one anchor: each positive p against one negative n(p),
// the nearest with d_n > d_p or, if there is none, the farthest of all.
//
//     L = Σ_p v₊,  v = d_p − d_n(p) + m = z_n(p) − z_p + m;    ∂L/∂z_p = −[v > 0],
//     ∂L/∂z_n = #{p: n(p) = n, v > 0}, the choice of n(p) being a constant.
// A mean is over the pairs (a, p) of anchors that have a negative.
#pragma once

#include <cstdint>

#include "core/list_loss.h"

namespace fastloss {

template <class T>
struct SemiHardTripletLoss {
  using Value = T;

  double margin;

  static SemiHardTripletLoss make(const double* options) { return {options[0]}; }

  template <class Pairs>
  ListTotal row(Pairs& pairs, T* dscore) const {
    if (pairs.count() == 0) return {};
    ListTotal total{pairs.poison(), static_cast<double>(pairs.positive_count())};
    pairs.each_semi_hard([&](const auto& positive, const auto& negative) {
      const double gap =
          (static_cast<double>(negative.z) - static_cast<double>(positive.z)) + margin;
      if (gap <= 0) return;
      total.value += gap;
      if (dscore == nullptr) return;
      dscore[positive.column] -= T(1);
      dscore[negative.column] += T(1);
    });
    return total;
  }
};

}  // namespace fastloss
