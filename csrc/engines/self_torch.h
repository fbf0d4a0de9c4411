// The engine of one set against itself on tensors: memory-safety guard, allocation, dtype dispatch
// (as pairwise_torch.h; self_torch.inl defines the templates, each self_<dtype>.cpp instantiates
// them once).
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "engines/pairwise_torch.h"

namespace fastloss {

// What errors call the tensors.
struct SelfNames {
  const char* rows = "embeddings";
  const char* others = "ref_embeddings";
  const char* labels = "labels";
  const char* other_labels = "ref_labels";
};

// Arguments of a loss of one set; shapes as in self.h.
struct SelfTensors {
  at::Tensor rows;
  std::optional<at::Tensor> others{};
  bool itself = true;
  std::optional<at::Tensor> labels{}, other_labels{};  // (n), (k) int64
  std::optional<at::Tensor> weights{};                 // (n), or (n / 2) of a paired loss
  ScaleArgument scale{};
  std::string similarity = "cosine";
  std::vector<double> options{};  // the functor's own
  int64_t workspace = 0;
  SelfNames names{};
};

// {grad_rows (n, d), grad_others (k, d), grad_scale ()}, of the accumulation type, empty where not
// wanted. `wanted` says which, in this order.
using SelfGradientTensors = std::vector<at::Tensor>;

struct SelfResult {
  at::Tensor loss;  // () or, for "none", (n)
  at::Tensor rows;  // (n, fields): the functor's Row, for backward
  SelfGradientTensors gradients;
};

// Defined for every registered loss and S = double, float, BFloat16, Float16.
template <template <class> class Loss, class S>
SelfResult self_forward_as(const std::string& name, const SelfTensors& tensors,
                           const std::string& reduction, const Wanted& wanted);
template <template <class> class Loss, class S>
SelfGradientTensors self_backward_as(const std::string& name, const SelfTensors& tensors,
                                     const at::Tensor& rows, const at::Tensor& grad_loss,
                                     const Wanted& wanted);

// The same on the device, defined for every registered loss (cuda/self_torch.cpp).
namespace device {

template <template <class> class Loss>
SelfResult self_forward(const std::string& name, const SelfTensors& tensors,
                        const std::string& reduction, const Wanted& wanted);
template <template <class> class Loss>
SelfGradientTensors self_backward(const std::string& name, const SelfTensors& tensors,
                                  const at::Tensor& rows, const at::Tensor& grad_loss,
                                  const Wanted& wanted);

}  // namespace device

template <template <class> class Loss>
SelfResult self_forward(const std::string& name, const SelfTensors& tensors,
                        const std::string& reduction, const Wanted& wanted) {
  if constexpr (kCuda) {
    if (on_device(tensors.rows))
      return device::self_forward<Loss>(name, tensors, reduction, wanted);
  }
  if constexpr (!kEmulated) {
    return with_stored_type(tensors.rows.scalar_type(), [&](auto stored) {
      return self_forward_as<Loss, decltype(stored)>(name, tensors, reduction, wanted);
    });
  }
  fail(name, "no engine for this device");
}

template <template <class> class Loss>
SelfGradientTensors self_backward(const std::string& name, const SelfTensors& tensors,
                                  const at::Tensor& rows, const at::Tensor& grad_loss,
                                  const Wanted& wanted) {
  if constexpr (kCuda) {
    if (on_device(tensors.rows))
      return device::self_backward<Loss>(name, tensors, rows, grad_loss, wanted);
  }
  if constexpr (!kEmulated) {
    return with_stored_type(tensors.rows.scalar_type(), [&](auto stored) {
      return self_backward_as<Loss, decltype(stored)>(name, tensors, rows, grad_loss, wanted);
    });
  }
  fail(name, "no engine for this device");
}

}  // namespace fastloss
