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
        inverse_temperature(static_cast<T>(1 / options.label_temperature)) {}

  double count(const ListItems<T>& items) const { return items.count > 0 ? 1 : 0; }

  ListTotal list(const ListItems<T>& items, double* gradient) const {
    if (items.count == 0) return {};
    ListTotal total{0, 1};
    ListTotal* const out = &total;
    simd::dispatch([=, *this]() FASTLOSS_SIMD_LOOP { out->value = run(items, gradient); });
    return total;
  }

 private:
  static constexpr int64_t kSpan = 256;  // summed in T; spans are summed in double

  // Largest score or label, NaN left out.
  FASTLOSS_HOST_DEVICE static T max_of(const T* __restrict values, int64_t count) {
    T max = -math::kInfinity<T>;
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < count; ++i) max = values[i] > max ? values[i] : max;
    return max;
  }

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

  FASTLOSS_HOST_DEVICE double run(const ListItems<T>& items, double* gradient) const {
    if (target == Target::kSoftmax) return run_with<Target::kSoftmax>(items, gradient);
    if (target == Target::kExp2Gain) return run_with<Target::kExp2Gain>(items, gradient);
    return run_with<Target::kRaw>(items, gradient);
  }

  template <Target kTarget>
  FASTLOSS_HOST_DEVICE double run_with(const ListItems<T>& items, double* gradient) const {
    const int64_t n = items.count;
    const T* __restrict const score = items.score;
    const T* __restrict const label = items.label;
    const T max = max_of(score, n);
    const T top = kTarget == Target::kSoftmax ? max_of(label, n) : T(0);
    double exp_sum = 0, weight_sum = 0, shifted_sum = 0;  // Σ e^{s−max}, Σ P, Σ P (max − s)
    for (int64_t first = 0; first < n; first += kSpan) {
      const int64_t last = std::min(n, first + kSpan);
      T e = 0, w = 0, s = 0;
#pragma omp simd reduction(+ : e, w, s)
      for (int64_t i = first; i < last; ++i) {
        const T p = weight<kTarget>(label[i], top);
        e += math::exp_up_to_0(score[i] - max);
        w += p;
        s += p == T(0) ? T(0) : p * (max - score[i]);
      }
      exp_sum += static_cast<double>(e);
      weight_sum += static_cast<double>(w);
      shifted_sum += static_cast<double>(s);
    }
    const bool normalised = target == Target::kSoftmax || target == Target::kNormalize;
    const double unit = !normalised ? 1 : weight_sum == 0 ? 0 : 1 / weight_sum;
    if (gradient != nullptr) {
      const auto per_weight = static_cast<T>(unit);
      const auto per_exp = static_cast<T>(unit * weight_sum / exp_sum);
      double* __restrict const out = gradient;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        out[i] = static_cast<double>(per_exp * math::exp_up_to_0(score[i] - max) -
                                     per_weight * weight<kTarget>(label[i], top));
      }
    }
    return unit * (weight_sum * std::log(exp_sum) + shifted_sum);
  }
};

}  // namespace fastloss
