// Engine and functor meet here (self_run.h): included by one file a storage type.
#pragma once

#include "cuda/self.cuh"
#include "cuda/self_run.h"
#include "losses/registry.h"

namespace fastloss::device {

template <template <class> class Loss, class S, class T>
void run_self_forward(Runtime& runtime, const SelfOnDevice<S, T>& input, const Loss<T>& loss,
                      typename Loss<T>::Row* rows, const SelfResultOnDevice<T>& result, T* each) {
  SelfCuda<Loss<T>, S> engine(runtime, input, loss);
  if (result.gradients.any()) {
    engine.forward_gradient(rows, result);
  } else {
    engine.forward(rows, result);
  }
  if (each != nullptr) engine.losses(rows, each);
}

template <template <class> class Loss, class S, class T>
void run_self_backward(Runtime& runtime, const SelfOnDevice<S, T>& input, const Loss<T>& loss,
                       const typename Loss<T>::Row* rows, const SelfResultOnDevice<T>& result) {
  SelfCuda<Loss<T>, S>(runtime, input, loss).backward(rows, result);
}

#define FASTLOSS_INSTANTIATE_SELF_CUDA(S, T, Functor)                                       \
  template void run_self_forward<Functor, S, T>(Runtime&, const SelfOnDevice<S, T>&,        \
                                                const Functor<T>&, Functor<T>::Row*,        \
                                                const SelfResultOnDevice<T>&, T*);          \
  template void run_self_backward<Functor, S, T>(Runtime&, const SelfOnDevice<S, T>&,       \
                                                 const Functor<T>&, const Functor<T>::Row*, \
                                                 const SelfResultOnDevice<T>&);

}  // namespace fastloss::device
