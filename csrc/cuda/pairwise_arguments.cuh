// What arguments become before the engine sees them, and gradients after it (pairwise_run.h).
#pragma once

#include <limits>

#include "cuda/operands.cuh"
#include "cuda/pairwise_input.h"
#include "cuda/pairwise_run.h"

namespace fastloss::device {

namespace detail {

template <class T>
FASTLOSS_DEVICE T nan_of() {
  return math::kInfinity<T> - math::kInfinity<T>;
}
template <class T>
FASTLOSS_DEVICE T not_negative(T weight) {
  return weight < T(0) ? nan_of<T>() : weight;
}
template <class T>
FASTLOSS_DEVICE double number_of(const void* number, StoredType type) {
  if (type == StoredType::kDouble) return *static_cast<const double*>(number);
  if (type == StoredType::kBFloat16) {
    return static_cast<double>(*static_cast<const BFloat16*>(number));
  }
  if (type == StoredType::kFloat16)
    return static_cast<double>(*static_cast<const Float16*>(number));
  return static_cast<double>(*static_cast<const float*>(number));
}

}  // namespace detail

template <class T>
FASTLOSS_KERNEL(kBlock, 4)
void rows_of_arguments(RowArguments<T> rows, int64_t* target, T* factor, T* counted) {
  const int64_t i = block().x * kBlock + thread();
  if (i >= rows.n) return;
  int64_t t = !rows.has_target ? kNoTarget : rows.target != nullptr ? rows.target[i] : i;
  const bool ignored = rows.target != nullptr && rows.ignores && t == rows.ignored;
  const bool valid =
      !rows.has_target || (t < rows.m && t >= (rows.may_lack ? kNoTarget : int64_t{0}));
  const T weight = rows.weights != nullptr ? detail::not_negative(rows.weights[i]) : T(1);
  T f = rows.half * weight * (rows.upstream != nullptr ? rows.upstream[i] : T(1));
  T c = weight;
  if (ignored) {
    t = kIgnoredRow;
    f = c = T(0);
  } else if (!valid) {
    t = kNoTarget;
    f = c = detail::nan_of<T>();
  } else {
    if (rows.divisors != nullptr) c = detail::not_negative(rows.divisors[t]);
    if (rows.pairs != nullptr) c *= static_cast<T>(rows.pairs[i]);
  }
  target[i] = t;
  factor[i] = f;
  counted[i] = c;
}

template <class T>
FASTLOSS_KERNEL(kBlock, 4)
void weights_of_arguments(const T* weight, int64_t count, int64_t room, T* out) {
  const int64_t i = block().x * kBlock + thread();
  if (i < room) out[i] = i < count ? detail::not_negative(weight[i]) : T(0);
}

template <class T>
FASTLOSS_KERNEL(kWarp, 1)
void scale_of_argument(const void* number, StoredType type, bool divides, T* out) {
  if (thread() != 0) return;
  const double value = detail::number_of<T>(number, type);
  const bool usable = value > 0 && value < math::kInfinity<double>;
  *out = !usable ? detail::nan_of<T>() : static_cast<T>(divides ? 1 / value : value);
}

template <class T>
FASTLOSS_KERNEL(kWarp, 1)
void number_of_argument(const void* number, StoredType type, T* out) {
  if (thread() == 0) *out = static_cast<T>(detail::number_of<T>(number, type));
}

// A warp takes a negative.
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void gradient_of_negatives(int64_t n, int64_t h, int64_t d, const S* query, const S* negatives,
                           const T* own, const T* scale, S* out) {
  const int64_t at = detail::row_of_warp();
  if (at >= n * h) return;
  const T a = *scale * own[2 * at], r = own[2 * at + 1];
  const S* const x = query + at / h * d;
  for (int64_t c = lane(); c < d; c += kWarp) {
    const T y = static_cast<T>(negatives[at * d + c]);
    out[at * d + c] = round_to<S>(a * (static_cast<T>(x[c]) - r * y));
  }
}

template <class S>
FASTLOSS_KERNEL(kBlock, 4)
void gradient_scaled(const float* gradient, int64_t count, const float* scale, S* out) {
  const int64_t first = (block().x * kBlock + thread()) * kSpan;
  if (first >= count) return;
  const float factor = *scale;
  float in[kSpan];
  load_ragged(gradient, first, count, 0.0f, in);
#pragma unroll
  for (int j = 0; j < kSpan; ++j) {
    if (first + j < count) out[first + j] = round_to<S>(factor * in[j]);
  }
}

template <class T>
void prepare_rows(Runtime& runtime, const RowArguments<T>& rows, int64_t* target, T* factor,
                  T* counted) {
  launch(rows_of_arguments<T>, Grid{cover(rows.n, kBlock)}, kBlock, runtime.queue(), rows, target,
         factor, counted);
}

template <class T>
void prepare_weights(Runtime& runtime, const T* weight, int64_t count, T* out) {
  launch(weights_of_arguments<T>, Grid{cover(padded(count), kBlock)}, kBlock, runtime.queue(),
         weight, count, padded(count), out);
}

template <class T>
void prepare_scale(Runtime& runtime, const void* number, StoredType type, bool divides, T* out) {
  launch(scale_of_argument<T>, Grid{}, kWarp, runtime.queue(), number, type, divides, out);
}

template <class T>
void prepare_number(Runtime& runtime, const void* number, StoredType type, T* out) {
  launch(number_of_argument<T>, Grid{}, kWarp, runtime.queue(), number, type, out);
}

template <class S, class T>
void negatives_gradient(Runtime& runtime, int64_t n, int64_t h, int64_t d, const S* query,
                        const S* negatives, const T* own, const T* scale, S* out) {
  launch(gradient_of_negatives<S, T>, Grid{cover(n * h, kWarpsOfBlock)}, kBlock, runtime.queue(), n,
         h, d, query, negatives, own, scale, out);
}

template <class S>
void scaled_gradient(Runtime& runtime, const float* gradient, int64_t count, const float* scale,
                     S* out) {
  launch(gradient_scaled<S>, Grid{cover(count, kBlock * kSpan)}, kBlock, runtime.queue(), gradient,
         count, scale, out);
}

}  // namespace fastloss::device
