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
    T max = -math::kInfinity<T>, top = -math::kInfinity<T>;
#pragma omp simd reduction(max : max, top)
    for (int64_t i = 0; i < n; ++i) {
      max = score[i] > max ? score[i] : max;
      top = label[i] > top ? label[i] : top;
    }
    const bool keeps = n <= kKept;
    T exps[kKept], weights[kKept];  // of all items, or of one span
    const auto fill = [&](int64_t first, int64_t count, T* __restrict e, T* __restrict p)
                          FASTLOSS_SIMD_LOOP {
#pragma omp simd
                            for (int64_t k = 0; k < count; ++k) {
                              e[k] = math::exp_up_to_0(score[first + k] - max);
                              p[k] = weight<kTarget>(label[first + k], top);
                            }
                          };
    double exp_sum = 0, weight_sum = 0, shifted_sum = 0;  // Σ e^{s−max}, Σ P, Σ P (max − s)
    for (int64_t first = 0; first < n; first += kSpan) {
      const int64_t count = std::min(kSpan, n - first);
      T* __restrict const e = exps + (keeps ? first : 0);
      T* __restrict const p = weights + (keeps ? first : 0);
      fill(first, count, e, p);
#pragma omp simd reduction(+ : exp_sum, weight_sum, shifted_sum)
      for (int64_t k = 0; k < count; ++k) {
        exp_sum += static_cast<double>(e[k]);
        weight_sum += static_cast<double>(p[k]);
        shifted_sum += static_cast<double>(p[k] == T(0) ? T(0) : p[k] * (max - score[first + k]));
      }
    }
    const bool normalised = target == Target::kSoftmax || target == Target::kNormalize;
    const double unit = !normalised ? 1 : weight_sum == 0 ? 0 : 1 / weight_sum;
    const double per_weight = unit, per_exp = unit * weight_sum / exp_sum;
    for (int64_t first = 0; gradient != nullptr && first < n; first += kSpan) {
      const int64_t count = std::min(kSpan, n - first);
      T* __restrict const e = exps + (keeps ? first : 0);
      T* __restrict const p = weights + (keeps ? first : 0);
      if (!keeps) fill(first, count, e, p);
      double* __restrict const out = gradient + first;
#pragma omp simd
      for (int64_t k = 0; k < count; ++k) {
        out[k] = per_exp * static_cast<double>(e[k]) - per_weight * static_cast<double>(p[k]);
      }
    }
    return unit * (weight_sum * std::log(exp_sum) + shifted_sum);
  }
};

}  // namespace fastloss
