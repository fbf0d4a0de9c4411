// Engine and functor meet here (see listwise_torch.h): included by one file an accumulation type.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "engines/listwise_arguments.h"
#include "engines/listwise_cpu.h"
#include "losses/registry.h"

namespace fastloss {

template <template <class> class Loss, class S>
ListwiseResult listwise_forward_stored(const std::string& name, const ListwiseTensors& tensors,
                                       const typename Loss<float>::Options& options,
                                       const std::string& reduction, bool wanted) {
  using T = typename Stored<S>::Accumulated;
  const ListwiseArguments<S> arguments(name, tensors);
  const auto& in = arguments.input;
  const ListReduction how = list_reduction_of(name, reduction);
  const at::Tensor loss = how == ListReduction::kNone ? at::empty({in.lists}, Stored<T>::dtype)
                                                      : at::empty({}, Stored<T>::dtype);
  // Masked items are never visited.
  const bool masked = in.where != nullptr;
  const at::Tensor gradient = !wanted  ? at::empty({0}, Stored<T>::dtype)
                              : masked ? at::zeros(tensors.scores.sizes(), Stored<T>::dtype)
                                       : at::empty(tensors.scores.sizes(), Stored<T>::dtype);
  ListwiseCpu<Loss<T>, S> engine(in, Loss<T>(options), how);
  const auto invalid =
      engine.run(loss.template data_ptr<T>(), wanted ? gradient.template data_ptr<T>() : nullptr);
  if (invalid.label >= 0) {
    arguments.fail_at("labels", in.label[invalid.label], invalid.label,
                      "; leave such items out with where = labels >= 0");
  }
  if (invalid.weight >= 0) {
    arguments.fail_at("weights", in.weight[invalid.weight], invalid.weight, "");
  }
  return {loss, gradient};
}

template <template <class> class Loss, class T>
ListwiseResult listwise_forward_as(const std::string& name, const ListwiseTensors& tensors,
                                   const typename Loss<T>::Options& options,
                                   const std::string& reduction, bool wanted) {
  const auto run = [&](auto stored) {
    return listwise_forward_stored<Loss, decltype(stored)>(name, tensors, options, reduction,
                                                           wanted);
  };
  if constexpr (std::is_same_v<T, float>) {
    const auto dtype = tensors.scores.scalar_type();
    if (dtype == at::kBFloat16) return run(BFloat16{});
    if (dtype == at::kHalf) return run(Float16{});
  }
  return run(T{});  // the guard refuses other dtypes
}

#define FASTLOSS_INSTANTIATE_LISTWISE(T, Functor)                                      \
  template ListwiseResult listwise_forward_as<Functor, T>(                             \
      const std::string&, const ListwiseTensors&, const typename Functor<T>::Options&, \
      const std::string&, bool);

}  // namespace fastloss
