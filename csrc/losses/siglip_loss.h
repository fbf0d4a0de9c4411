// The pairwise sigmoid loss of SigLIP (Zhai et al. 2023, arXiv:2303.15343), one row: every score
// s_j = z_j + b is classified by itself, as a pair (label 1) or not (label −1),
//     L = softplus(−s_t) + Σ_{j ≠ t} softplus(s_j),       softplus(x) = log(1 + e^x).
// There is no normaliser: a derivative depends on its own score alone,
//     ∂L/∂s_j = σ(s_j),      ∂L/∂s_t = −σ(−s_t) = −(1 − σ(s_t)),
// so that one visit of a score gives all that it adds to the loss and to every gradient. Of the
// bias and of the scale that multiplies z the gradients are sums over the row,
//     ∂L/∂b = Σ_j ∂L/∂s_j,      scale · ∂L/∂scale = Σ_j ∂L/∂s_j z_j.
// Most scores are far below 0, where softplus is tiny and there are many of it: sums of a span are
// added up in double. A masked score, z = −inf, adds nothing.
#pragma once

#include "core/element.h"
#include "core/math.h"
#include "core/simd.h"
#include "losses/one_pass_sums.h"

namespace fastloss {

template <class T>
struct SigLipLoss {
  using Value = T;
  using State = OnePassSums;

  struct Row {
    T value;    // L
    T dtarget;  // ∂L/∂s_t
    T moment;   // Σ ∂L/∂s · z
    T slope;    // Σ ∂L/∂s

    FASTLOSS_HOST_DEVICE bool counts() const { return true; }
  };

  T bias;

  static constexpr bool kHasTarget = true;
  static constexpr bool kTargetFirst = false;
  static constexpr int kOptions = 1;
  static SigLipLoss make(const double* options, const T* /*key_weight*/) {
    return {static_cast<T>(options[0])};
  }

  // Of a score that belongs to no pair; a pair's are those of −s.
  FASTLOSS_HOST_DEVICE static Element<T> at(T score) {
    const auto both = math::logistic(score);
    return {both.softplus, both.sigmoid};
  }

  FASTLOSS_HOST_DEVICE State slopes(const T* z, int64_t count, T /*target*/, T* dscore) const {
    const T b = bias;
    return sums_of_span(
        z, count,
        [b](T z) FASTLOSS_SIMD_LOOP {
          const Element<T> element = at(z + b);
          return OnePassTerm<T>{element.value, element.derivative, z};
        },
        dscore);
  }

  FASTLOSS_HOST_DEVICE Row finish(State sums, T target, int64_t column) const {
    if (column < 0) return row(sums, T(0));
    const Element<T> element = at(-(target + bias));
    sums.merge(State::of<T>({element.value, -element.derivative, target}));
    return row(sums, -element.derivative);
  }

 private:
  FASTLOSS_HOST_DEVICE static Row row(const State& sums, T dtarget) {
    return {static_cast<T>(sums.value), dtarget, static_cast<T>(sums.moment),
            static_cast<T>(sums.slope)};
  }
};

}  // namespace fastloss
