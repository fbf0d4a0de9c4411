// Batch-all triplets, one anchor: every positive p against every negative n.
//
// With similarities z (z = −distance, up to a constant) the gap of a triplet, d_p − d_n + m, is
// v = z_n − z_p + m, and
//     hinge "relu":      L = Σ_pn v₊,               ∂L/∂z_n = #{p: v > 0},   ∂L/∂z_p = −#{n: v > 0}
//     hinge "softplus":  L = Σ_pn log(1 + e^v),     ∂L/∂z_n = Σ_p σ(v),      ∂L/∂z_p = −Σ_n σ(v).
// A mean is over the triplets with v > 0 (average "active"; all of a softplus), or over all.
#pragma once

#include <cstdint>

#include "core/list_loss.h"

namespace fastloss {

template <class T>
struct BatchAllTripletLoss {
  using Value = T;

  double margin;
  bool softplus;
  bool of_active;

  static BatchAllTripletLoss make(const double* options) {
    return {options[0], options[1] != 0, options[2] != 0};
  }

  template <class Pairs>
  ListTotal row(Pairs& pairs, T* dscore) const {
    if (pairs.count() == 0) return {};
    const auto sum = softplus ? pairs.softplus(margin, dscore) : pairs.hinge(margin, dscore);
    return {sum.value, static_cast<double>(of_active ? sum.active : pairs.count())};
  }
};

}  // namespace fastloss
