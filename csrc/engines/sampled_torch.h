// The engine of sampled rows on tensors: memory-safety guard, checks of values, allocation, dtypes.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

namespace fastloss {

struct SampledTensors {
  at::Tensor positive, negative;  // (b, p) and (b, n)
  std::optional<at::Tensor> positive_where{}, negative_where{}, weights{};
};

// {loss, grad_positive, grad_negative[, grad_temperature]}: () and the shapes of the scores, for
// "none" the loss and the last one are (b). Of the accumulation type, empty where not wanted,
// ∂loss_b / ∂scores of row b for "none".
using SampledResult = std::vector<at::Tensor>;

SampledResult bpr_loss_forward(const SampledTensors& tensors, const std::string& reduction,
                               const std::vector<bool>& wanted);
SampledResult pairwise_margin_loss_forward(const SampledTensors& tensors, double margin,
                                           const std::string& reduction,
                                           const std::vector<bool>& wanted);
// positive is (b, 1).
SampledResult sampled_softmax_loss_forward(const SampledTensors& tensors,
                                           const std::optional<at::Tensor>& positive_log_q,
                                           const std::optional<at::Tensor>& negative_log_q,
                                           const std::optional<at::Tensor>& temperature_tensor,
                                           double temperature, const std::string& reduction,
                                           const std::vector<bool>& wanted);

}  // namespace fastloss
