// The pairwise engine on tensors: memory-safety guard, allocation, dtype and device dispatch.
//
// Checks of meaning live in Python; here stands what keeps every pointer in bounds, and the checks
// of values (target, weights, temperature), which must not interrupt a compiled graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

namespace fastloss {

// Arguments that every pairwise loss with one target a row shares; shapes as in pairwise.h.
struct PairwiseTensors {
  at::Tensor query, key;
  std::optional<at::Tensor> target, negatives, key_bias, key_ids, weights, temperature_tensor;
  double temperature;
  std::string similarity;
  double margin;
  std::vector<double> options;  // the functor's own
  int64_t workspace;
};

// Which gradients to form: query, key, negatives, key_bias, temperature.
using Wanted = std::vector<bool>;

// {grad_query (n, d), grad_key (m, d), own (n, h, 2), grad_key_bias (m), grad_temperature ()}, of
// the accumulation type, empty where not wanted. Not divided by anything.
using PairwiseGradientTensors = std::vector<at::Tensor>;

struct PairwiseResult {
  at::Tensor loss;  // () or, for "none", (n)
  at::Tensor rows;  // (n, k): the functor's Row, for backward
  PairwiseGradientTensors gradients;
};

template <template <class> class Loss>
PairwiseResult pairwise_forward(const std::string& name, const PairwiseTensors& tensors,
                                const std::string& reduction, const Wanted& wanted);

template <template <class> class Loss>
PairwiseGradientTensors pairwise_backward(const std::string& name, const PairwiseTensors& tensors,
                                          const at::Tensor& rows, const at::Tensor& grad_loss,
                                          const Wanted& wanted);

// ∂L/∂negatives from a row's coefficients `own` (see PairwiseGradients), times the scalar `scale`.
at::Tensor pairwise_negatives_gradient(const at::Tensor& query, const at::Tensor& negatives,
                                       const at::Tensor& own, const at::Tensor& scale);

}  // namespace fastloss
