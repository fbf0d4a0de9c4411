// Losses of pairs of scores where every other key of the batch is a negative, one row: with a loss
// ℓ of the gap g_j = s_j − s_t between a negative and the target (bpr_loss.h,
// pairwise_margin_loss.h),
//     L = Σ_{j ≠ t} ℓ(g_j),      ∂L/∂s_j = ℓ′(g_j),      ∂L/∂s_t = −Σ_j ℓ′(g_j).
// Once the target's score is known there is no normaliser, and one visit of a score gives all that
// it adds; the target's own derivative is known last. The gradient of the scale that multiplies the
// similarities is a sum of gaps, so that a constant in all scores does not cost its digits:
//     scale · ∂L/∂scale = Σ_j ℓ′(g_j) s_j + ∂L/∂s_t s_t = Σ_j ℓ′(g_j) g_j.
// A masked score, −inf, adds nothing.
#pragma once

#include "core/element.h"
#include "core/math.h"
#include "core/simd.h"
#include "losses/one_pass_sums.h"

namespace fastloss {

template <class T, class PairLoss>
struct InBatchLoss {
  using Value = T;
  using State = OnePassSums;

  struct Row {
    T value;    // L
    T dtarget;  // ∂L/∂s_t
    T moment;   // Σ ∂L/∂s · s

    FASTLOSS_HOST_DEVICE bool counts() const { return true; }
  };

  PairLoss pair;

  static constexpr bool kHasTarget = true;
  static constexpr bool kTargetFirst = true;

  FASTLOSS_HOST_DEVICE State slopes(const T* score, int64_t count, T target, T* dscore) const {
    const PairLoss loss = pair;
    return sums_of_span(
        score, count,
        [loss, target](T s) FASTLOSS_SIMD_LOOP {
          // An infinite target must not make a NaN of a masked score.
          const T gap = s == -math::kInfinity<T> ? s : s - target;
          const Element<T> element = loss.at(gap);
          return OnePassTerm<T>{element.value, element.derivative, gap};
        },
        dscore);
  }

  FASTLOSS_HOST_DEVICE Row finish(const State& others, T /*target*/, int64_t /*column*/) const {
    return {static_cast<T>(others.value), static_cast<T>(-others.slope),
            static_cast<T>(others.moment)};
  }
};

}  // namespace fastloss
