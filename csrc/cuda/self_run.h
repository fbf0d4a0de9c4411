// The losses of one set on the device, for callers that compile no kernels: self_<dtype>.cu
// instantiate them. All pointers are of the device; nothing waits for it.
#pragma once

#include "cuda/pairwise_run.h"
#include "cuda/self_input.h"

namespace fastloss::device {

// rows: (n). each: (n), for losses row by row, or null.
template <template <class> class Loss, class S, class T = AccumulatedOf<S>>
void run_self_forward(Runtime& runtime, const SelfOnDevice<S, T>& input, const Loss<T>& loss,
                      typename Loss<T>::Row* rows, const SelfResultOnDevice<T>& result, T* each);
template <template <class> class Loss, class S, class T = AccumulatedOf<S>>
void run_self_backward(Runtime& runtime, const SelfOnDevice<S, T>& input, const Loss<T>& loss,
                       const typename Loss<T>::Row* rows, const SelfResultOnDevice<T>& result);

}  // namespace fastloss::device
