// Engine and functor meet here (pairwise_run.h): included by one file a storage type.
#pragma once

#include "cuda/pairwise.cuh"
#include "cuda/pairwise_arguments.cuh"
#include "cuda/pairwise_run.h"
#include "losses/registry.h"

namespace fastloss::device {

// A functor that takes columns as well makes a symmetric loss.
template <class Loss>
constexpr bool kSymmetric = requires { &Loss::push_columns; };

template <template <class> class Loss, class S, class T>
void run_forward(Runtime& runtime, const PairwiseOnDevice<S, T>& input,
                 const DeviceLoss<Loss<T>>& loss, typename Loss<T>::Row* rows,
                 const PairwiseResultOnDevice<T>& result, T* each) {
  PairwiseCuda<Loss<T>, S> engine(runtime, input, loss);
  const bool wanted = result.gradients.any();
  typename Loss<T>::Row* cols = nullptr;
  if constexpr (kSymmetric<Loss<T>>) {
    cols = rows + input.n;
    if (wanted) {
      engine.symmetric_forward_gradient(rows, cols, result);
    } else {
      engine.symmetric_forward(rows, cols, result);
    }
  } else if (!wanted) {
    engine.forward(rows, result);
  } else if constexpr (OnePass<Loss<T>>) {
    engine.one_pass_forward_gradient(rows, result);
  } else {
    engine.forward_gradient(rows, result);
  }
  if (each != nullptr) engine.losses(rows, cols, each);
}

template <template <class> class Loss, class S, class T>
void run_backward(Runtime& runtime, const PairwiseOnDevice<S, T>& input,
                  const DeviceLoss<Loss<T>>& loss, const typename Loss<T>::Row* rows,
                  const PairwiseResultOnDevice<T>& result) {
  PairwiseCuda<Loss<T>, S> engine(runtime, input, loss);
  if constexpr (kSymmetric<Loss<T>>) {
    engine.symmetric_backward(rows, rows + input.n, result);
  } else if constexpr (OnePass<Loss<T>>) {
    engine.one_pass_backward(rows, result);
  } else {
    engine.backward(rows, result);
  }
}

#define FASTLOSS_INSTANTIATE_PAIRWISE_CUDA(S, T, Functor)                                          \
  template void run_forward<Functor, S, T>(Runtime&, const PairwiseOnDevice<S, T>&,                \
                                           const DeviceLoss<Functor<T>>&, Functor<T>::Row*,        \
                                           const PairwiseResultOnDevice<T>&, T*);                  \
  template void run_backward<Functor, S, T>(Runtime&, const PairwiseOnDevice<S, T>&,               \
                                            const DeviceLoss<Functor<T>>&, const Functor<T>::Row*, \
                                            const PairwiseResultOnDevice<T>&);

}  // namespace fastloss::device
