// RankNet (Burges et al. 2005), one pair of a list: item i has the higher label, t = s_i − s_j.
//
// With u = σ t and x = e^{−|u|} ∈ (0, 1],
//     value       log(1 + e^{−u}) = (−u)₊ + log(1 + x)
//     derivative  by t: −σ / (1 + e^u) = −σ · x / (1 + x)   if u ≥ 0,
//                                        −σ · 1 / (1 + x)   else.
// No difference of nearly equal numbers at either end: a badly misordered pair has derivative −σ,
// a well ordered one keeps the relative precision of e^{−u}. `scale` is 1, or 1 / ln(base) for
// logarithms to another base.
// A pair of equal labels has target ½ (ties "half"): ½ log(1 + e^{−u}) + ½ log(1 + e^{u}), that is
//     value       |u| / 2 + log(1 + x)
//     derivative  by t: σ (½ − 1 / (1 + e^u)) = ± σ/2 · (1 − x) / (1 + x), the sign that of u,
// where 1 − x is exact near a tie.
#pragma once

#include "core/list_loss.h"
#include "core/math.h"

namespace fastloss {

struct RankNetOptions {
  double sigma = 1;
  double scale = 1;
  PairRules rules{};
};

template <class T>
struct RankNetLoss {
  using Value = T;
  using Options = RankNetOptions;
  static constexpr bool kLogistic = true;

  T sigma;
  T scale;
  PairRules rules;

  explicit RankNetLoss(const Options& options)
      : sigma(static_cast<T>(options.sigma)),
        scale(static_cast<T>(options.scale)),
        rules(options.rules) {}

  FASTLOSS_HOST_DEVICE PairTerm<T> pair(T t) const {
    const T u = sigma * t;
    const T x = math::exp_up_to_0(u < T(0) ? u : -u);
    const T inverse = T(1) / (T(1) + x);
    return {scale * ((u < T(0) ? -u : T(0)) + math::log1p_up_to_1(x)),
            -sigma * scale * (u < T(0) ? inverse : x * inverse)};
  }

  FASTLOSS_HOST_DEVICE PairTerm<T> tie(T t) const {
    const T u = sigma * t;
    const T magnitude = u < T(0) ? -u : u;
    const T x = math::exp_up_to_0(-magnitude);
    const T half = T(0.5) * sigma * scale * (T(1) - x) / (T(1) + x);
    return {scale * (T(0.5) * magnitude + math::log1p_up_to_1(x)), u < T(0) ? -half : half};
  }

  SweepForm sweep() const {
    return {.slope = static_cast<double>(sigma), .factor = static_cast<double>(scale)};
  }
};

}  // namespace fastloss
