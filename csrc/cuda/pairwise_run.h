// The pairwise losses on the device, for callers that compile no kernels: pairwise_<dtype>.cu
// instantiate them. All pointers are of the device; nothing waits for it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "cuda/pairwise_input.h"
#include "cuda/runtime.h"

namespace fastloss::device {

template <class S>
using AccumulatedOf = std::conditional_t<sizeof(S) == 2, float, S>;

// Rows as the caller has them; null arrays are not given.
template <class T>
struct RowArguments {
  int64_t n = 0, m = 0;
  const int64_t* target = nullptr;  // (n), or null: row i has column i, or none of them a target
  bool has_target = true;
  bool may_lack = false;  // −1 is no target
  bool ignores = false;   // rows with target `ignored` do not exist
  int64_t ignored = 0;
  const T* weights = nullptr;      // (n)
  const T* upstream = nullptr;     // (n)
  const T* divisors = nullptr;     // (m): what a mean divides by is a sum of the targets' …
  const int64_t* pairs = nullptr;  // (n): … or of weights times a number a row
  T half = 1;
};

// Fills target, factor and counted of PairwiseOnDevice. A target out of range or a negative weight
// makes the row's factor NaN: nothing is read out of range, and nothing goes unnoticed.
template <class T>
void prepare_rows(Runtime& runtime, const RowArguments<T>& rows, int64_t* target, T* factor,
                  T* counted);

// weight[j], and NaN where it is negative; `count` of them, zeros up to a multiple of 8.
template <class T>
void prepare_weights(Runtime& runtime, const T* weight, int64_t count, T* out);

// A number that multiplies (or, if `divides`, divides) similarities; NaN unless it is positive and
// finite.
template <class T>
void prepare_scale(Runtime& runtime, const void* number, StoredType type, bool divides, T* out);
// A number as it is.
template <class T>
void prepare_number(Runtime& runtime, const void* number, StoredType type, T* out);

// rows: (n), of a symmetric loss (2n), the columns behind the rows. each: (n), for losses row by
// row, or null.
template <template <class> class Loss, class S, class T = AccumulatedOf<S>>
void run_forward(Runtime& runtime, const PairwiseOnDevice<S, T>& input,
                 const DeviceLoss<Loss<T>>& loss, typename Loss<T>::Row* rows,
                 const PairwiseResultOnDevice<T>& result, T* each);
template <template <class> class Loss, class S, class T = AccumulatedOf<S>>
void run_backward(Runtime& runtime, const PairwiseOnDevice<S, T>& input,
                  const DeviceLoss<Loss<T>>& loss, const typename Loss<T>::Row* rows,
                  const PairwiseResultOnDevice<T>& result);

// ∂L/∂negatives (n, h, d) from a row's coefficients `own` (n, h, 2), times a number on the device.
template <class S, class T = AccumulatedOf<S>>
void negatives_gradient(Runtime& runtime, int64_t n, int64_t h, int64_t d, const S* query,
                        const S* negatives, const T* own, const T* scale, S* out);
// out = gradient · scale, rounded once.
template <class S>
void scaled_gradient(Runtime& runtime, const float* gradient, int64_t count, const float* scale,
                     S* out);

}  // namespace fastloss::device
