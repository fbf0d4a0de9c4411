// ListNet's top-1 loss (Cao et al. 2007): cross-entropy between a target P made of the labels and
// softmax(s), over one list.
//
// With a_i = lse − s_i ≥ 0, a = log Σ_j exp(s_j − max) + (max − s_i),
//     value       Σ_i P_i a_i,                         all terms of one sign for P ≥ 0
//     derivative  by s_i: (Σ_j P_j) softmax(s)_i − P_i.
// The target is softmax(labels / temperature), labels ÷ their sum (all 0: nothing to learn, value
// 0), the labels themselves, or their gains (2^y − 1 or y), the last two not normalised.
// An item without target costs nothing, not even where its score is −inf.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/lanes.h"
#include "core/list_loss.h"
#include "core/lse.h"
#include "core/simd.h"

namespace fastloss {

struct ListNetOptions {
  enum class Target { kSoftmax, kNormalize, kRaw, kExp2Gain };
  Target target = Target::kSoftmax;
  double label_temperature = 1;
};

template <class T>
struct ListNetLoss {
  using Value = T;
  using Options = ListNetOptions;
  using Target = ListNetOptions::Target;

  Target target;
  T inverse_temperature;

  explicit ListNetLoss(const Options& options)
      : target(options.target),
        // Never 0, so that a label of −∞ has the weight 0.
        inverse_temperature(std::max(static_cast<T>(1 / options.label_temperature),
                                     std::numeric_limits<T>::min())) {}

  double count(const ListItems<T>& items) const { return items.count > 0 ? 1 : 0; }

  ListTotal list(const ListItems<T>& items, double factor, T* gradient) const {
    if (items.count == 0) return {};
    ListTotal total{0, 1};
    ListTotal* const out = &total;
    simd::dispatch([=, *this]() FASTLOSS_SIMD_LOOP { out->value = run(items, factor, gradient); });
    return total;
  }

 private:
  static constexpr int64_t kSpan = 256;        // summed in T; spans are summed in double
  static constexpr int64_t kKept = 4 * kSpan;  // a longer list's exponentials are formed twice

  // The target before it is normalised; `top` is the largest label.
  template <Target kTarget>
  FASTLOSS_HOST_DEVICE T weight(T label, T top) const {
    if constexpr (kTarget == Target::kSoftmax) {
      return math::exp_up_to_0((label - top) * inverse_temperature);
    } else if constexpr (kTarget == Target::kExp2Gain) {
      return math::exp2_minus_1(label);
    } else {
      return label;
    }
  }

  FASTLOSS_HOST_DEVICE double run(const ListItems<T>& items, double factor, T* gradient) const {
    if (target == Target::kSoftmax) return run_with<Target::kSoftmax>(items, factor, gradient);
    if (target == Target::kExp2Gain) return run_with<Target::kExp2Gain>(items, factor, gradient);
    return run_with<Target::kRaw>(items, factor, gradient);
  }

  // Of a list or a span of it: Σ e^{s−max}, Σ P, Σ P (max − s).
  struct Sums {
    double exp;
    T weight, shifted;
  };

  // Fills e and p of items whose number is a multiple of kLaneStep.
  template <Target kTarget>
  FASTLOSS_HOST_DEVICE Sums fill(const T* __restrict score, const T* __restrict label,
                                 int64_t count, T max, T top, T* __restrict e,
                                 T* __restrict p) const {
    T exp_sum = 0, weight_sum = 0, shifted_sum = 0;
#pragma omp simd reduction(+ : exp_sum, weight_sum, shifted_sum)
    for (int64_t k = 0; k < count; ++k) {
      const T x = score[k] - max;
      const T exp = e[k] = math::exp_up_to_0(x);
      const T w = p[k] = weight<kTarget>(label[k], top);
      exp_sum += exp;
      weight_sum += w;
      shifted_sum -= w == T(0) ? T(0) : w * x;
    }
    double precise = static_cast<double>(exp_sum);
    if (exp_sum < T(2)) {
      // The largest score's 1 and less than that: log Σ needs the digits it would swallow.
      precise = 0;
#pragma omp simd reduction(+ : precise)
      for (int64_t k = 0; k < count; ++k) precise += static_cast<double>(e[k]);
    }
    return {precise, weight_sum, shifted_sum};
  }

  // The same of any number of items, filled up with some that weigh nothing: a vector loop's last,
  // incomplete step takes as long as three others.
  template <Target kTarget>
  FASTLOSS_HOST_DEVICE Sums fill_span(const T* score, const T* label, int64_t count, T max, T top,
                                      T* e, T* p) const {
    T padded_score[kSpan], padded_label[kSpan];
    const int64_t lanes = lanes_for(count);
    if (count < lanes) {
      std::copy_n(score, count, padded_score);
      std::copy_n(label, count, padded_label);
      std::fill(padded_score + count, padded_score + lanes, -math::kInfinity<T>);
      constexpr T kNone = kTarget == Target::kSoftmax ? -math::kInfinity<T> : T(0);
      std::fill(padded_label + count, padded_label + lanes, kNone);
      score = padded_score;
      label = padded_label;
    }
    return fill<kTarget>(score, label, lanes, max, top, e, p);
  }

  template <Target kTarget>
  FASTLOSS_HOST_DEVICE double run_with(const ListItems<T>& items, double factor,
                                       T* gradient) const {
    const int64_t n = items.count;
    const T* __restrict const score = items.score;
    const T* __restrict const label = items.label;
    const T max = items.max_score, top = items.max_label;
    const bool keeps = n <= kKept;
    T exps[kKept], weights[kKept];  // of all items, or of one span
    double exp_sum = 0, weight_sum = 0, shifted_sum = 0;
    for (int64_t first = 0; first < n; first += kSpan) {
      const int64_t kept = keeps ? first : 0;
      const Sums sums = fill_span<kTarget>(score + first, label + first, std::min(kSpan, n - first),
                                           max, top, exps + kept, weights + kept);
      exp_sum += sums.exp;
      weight_sum += static_cast<double>(sums.weight);
      shifted_sum += static_cast<double>(sums.shifted);
    }
    const bool normalised = target == Target::kSoftmax || target == Target::kNormalize;
    const double unit = !normalised ? 1 : weight_sum == 0 ? 0 : 1 / weight_sum;
    const T per_weight = static_cast<T>(factor * unit);
    const T per_exp = static_cast<T>(factor * unit * weight_sum / exp_sum);
    for (int64_t first = 0; gradient != nullptr && first < n; first += kSpan) {
      const int64_t count = std::min(kSpan, n - first), kept = keeps ? first : 0;
      T* __restrict const e = exps + kept;
      T* __restrict const p = weights + kept;
      if (!keeps) fill_span<kTarget>(score + first, label + first, count, max, top, e, p);
      T* __restrict const out = gradient + first;
#pragma omp simd
      for (int64_t k = 0; k < count; ++k) out[k] = per_exp * e[k] - per_weight * p[k];
    }
    return unit * (weight_sum * std::log(exp_sum) + shifted_sum);
  }
};

}  // namespace fastloss
