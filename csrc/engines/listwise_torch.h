// The listwise engine on tensors: memory-safety guard, allocation, dtype dispatch, and the checks
// of values, which must not interrupt a compiled graph. Checks of meaning live in Python.
// listwise_torch.inl defines the templates; listwise_<type>.cpp instantiate them by accumulation
// type.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <utility>

namespace fastloss {

// scores (b, l), or (l,): one list; or flat (t,) with offsets (b + 1). labels, where and weights
// have the shape of scores.
struct ListwiseTensors {
  at::Tensor scores, labels;
  std::optional<at::Tensor> where{}, offsets{}, weights{}, list_weights{};
};

// {loss () or, for "none", (b); gradient of the shape of scores, (0) if not wanted}, both of the
// accumulation type.
using ListwiseResult = std::pair<at::Tensor, at::Tensor>;

// Defined for every registered loss and T = double, float.
template <template <class> class Loss, class T>
ListwiseResult listwise_forward_as(const std::string& name, const ListwiseTensors& tensors,
                                   const typename Loss<T>::Options& options,
                                   const std::string& reduction, bool wanted);

template <template <class> class Loss>
ListwiseResult listwise_forward(const std::string& name, const ListwiseTensors& tensors,
                                const typename Loss<float>::Options& options,
                                const std::string& reduction, bool wanted) {
  return tensors.scores.scalar_type() == at::kDouble
             ? listwise_forward_as<Loss, double>(name, tensors, options, reduction, wanted)
             : listwise_forward_as<Loss, float>(name, tensors, options, reduction, wanted);
}

// gradient · grad_loss, that of its own list if there are several, rounded once to `dtype`.
at::Tensor listwise_backward(const at::Tensor& grad_loss, const at::Tensor& gradient,
                             const std::optional<at::Tensor>& offsets, at::ScalarType dtype);

}  // namespace fastloss
