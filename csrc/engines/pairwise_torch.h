// The pairwise engine on tensors: memory-safety guard, allocation, dtype and device dispatch.
//
// Checks of meaning live in Python; here stands what keeps every pointer in bounds, and the checks
// of values (target, weights, temperature), which must not interrupt a compiled graph.
// pairwise_torch.inl defines the templates; each pairwise_<dtype>.cpp instantiates them once.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "core/half.h"
#include "engines/held_arguments.h"

namespace fastloss {

// What errors call the tensors: every loss has words of its own.
struct PairwiseNames {
  const char* query = "query";
  const char* key = "key";
  const char* key_bias = "key_bias";
  const char* key_weight = "key_weight";
  const char* scale = "temperature";
};

// Arguments of a pairwise loss; shapes as in pairwise.h.
struct PairwiseTensors {
  at::Tensor query, key;
  std::optional<at::Tensor> target{}, negatives{}, key_bias{}, key_ids{}, weights{};
  std::optional<at::Tensor> key_weight{};   // (m): handed to the functor
  std::optional<int64_t> ignored_target{};  // rows with this target do not exist
  bool target_may_lack = false;             // −1: the row has no target
  bool mean_of_pairs = false;               // a mean is over targets and others, not over rows
  ScaleArgument scale{};
  std::string similarity = "dot";
  double margin = 0;
  std::vector<double> options{};       // the functor's own
  std::optional<at::Tensor> option{};  // the first of them, where it lies on the device
  int64_t workspace = 0;
  PairwiseNames names{};
};

// Which gradients to form: query, key, negatives, key_bias, scale, shift (pairwise.h).
using Wanted = std::vector<bool>;
constexpr size_t kWanted = 6;

// {grad_query (n, d), grad_key (m, d), own (n, h, 2), grad_key_bias (m), grad_scale (),
// grad_shift ()}, of the accumulation type, empty where not wanted. Not divided by anything.
using PairwiseGradientTensors = std::vector<at::Tensor>;

struct PairwiseResult {
  at::Tensor loss;  // () or, for "none", (n)
  at::Tensor rows;  // (n, k), symmetric losses (2, n, k): the functor's Row, for backward
  PairwiseGradientTensors gradients;
};

// Defined for every registered loss and S = double, float, BFloat16, Float16.
template <template <class> class Loss, class S>
PairwiseResult pairwise_forward_as(const std::string& name, const PairwiseTensors& tensors,
                                   const std::string& reduction, const Wanted& wanted);
template <template <class> class Loss, class S>
PairwiseGradientTensors pairwise_backward_as(const std::string& name,
                                             const PairwiseTensors& tensors, const at::Tensor& rows,
                                             const at::Tensor& grad_loss, const Wanted& wanted);

// Calls work(S{}) with the storage type S of a dtype.
template <class Work>
auto with_stored_type(at::ScalarType dtype, const Work& work) {
  if (dtype == at::kDouble) return work(double{});
  if (dtype == at::kBFloat16) return work(BFloat16{});
  if (dtype == at::kHalf) return work(Float16{});
  return work(float{});  // the guard refuses other dtypes
}

// The same on the device, defined for every registered loss (cuda/pairwise_torch.cpp).
namespace device {

template <template <class> class Loss>
PairwiseResult pairwise_forward(const std::string& name, const PairwiseTensors& tensors,
                                const std::string& reduction, const Wanted& wanted);
template <template <class> class Loss>
PairwiseGradientTensors pairwise_backward(const std::string& name, const PairwiseTensors& tensors,
                                          const at::Tensor& rows, const at::Tensor& grad_loss,
                                          const Wanted& wanted);
at::Tensor pairwise_negatives_gradient(const at::Tensor& query, const at::Tensor& negatives,
                                       const at::Tensor& own, const at::Tensor& scale);
at::Tensor scaled_gradient(const at::Tensor& gradient, const at::Tensor& scale,
                           at::ScalarType dtype);

}  // namespace device

template <template <class> class Loss>
PairwiseResult pairwise_forward(const std::string& name, const PairwiseTensors& tensors,
                                const std::string& reduction, const Wanted& wanted) {
  if constexpr (kCuda) {
    if (on_device(tensors.query))
      return device::pairwise_forward<Loss>(name, tensors, reduction, wanted);
  }
  if constexpr (!kEmulated) {
    return with_stored_type(tensors.query.scalar_type(), [&](auto stored) {
      return pairwise_forward_as<Loss, decltype(stored)>(name, tensors, reduction, wanted);
    });
  }
  fail(name, "no engine for this device");
}

template <template <class> class Loss>
PairwiseGradientTensors pairwise_backward(const std::string& name, const PairwiseTensors& tensors,
                                          const at::Tensor& rows, const at::Tensor& grad_loss,
                                          const Wanted& wanted) {
  if constexpr (kCuda) {
    if (on_device(tensors.query))
      return device::pairwise_backward<Loss>(name, tensors, rows, grad_loss, wanted);
  }
  if constexpr (!kEmulated) {
    return with_stored_type(tensors.query.scalar_type(), [&](auto stored) {
      return pairwise_backward_as<Loss, decltype(stored)>(name, tensors, rows, grad_loss, wanted);
    });
  }
  fail(name, "no engine for this device");
}

// ∂L/∂negatives from a row's coefficients `own` (see PairwiseGradients), times the scalar `scale`.
at::Tensor pairwise_negatives_gradient(const at::Tensor& query, const at::Tensor& negatives,
                                       const at::Tensor& own, const at::Tensor& scale);

// gradient · scale, rounded once to a 16-bit dtype; scale is a single number of gradient's dtype.
at::Tensor scaled_gradient(const at::Tensor& gradient, const at::Tensor& scale,
                           at::ScalarType dtype);

}  // namespace fastloss
