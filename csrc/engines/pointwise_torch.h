// The pointwise engine on tensors: memory-safety guard, checks of values, allocation, dtypes.
//
// Checks of meaning live in Python; here stands what keeps every pointer in bounds, and the checks
// of values (target, weights), which must not interrupt a compiled graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

namespace fastloss {

struct PointwiseResult {
  at::Tensor loss;
  at::Tensor saved;  // what backward needs beside the arguments; O(rows)
};

// Single scores. `weight` and `positive_weight` may be broadcast to the input.
struct ElementsTensors {
  at::Tensor input, target;
  std::optional<at::Tensor> weight{}, positive_weight{};
  const char* weight_name = "weight";
  bool divides_by_weights = false;  // a mean does, or else by the number of elements
};

template <template <class> class Loss>
PointwiseResult elements_forward(const std::string& name, const ElementsTensors& tensors,
                                 const std::string& reduction);
template <template <class> class Loss>
at::Tensor elements_backward(const std::string& name, const at::Tensor& grad_loss,
                             const at::Tensor& saved, const ElementsTensors& tensors,
                             const std::string& reduction);

// Rows of logits, input (classes), (n, classes) or (n, classes, d1, …), against class indices
// (int64, the input's shape without its classes) or distributions (the input's shape).
PointwiseResult cross_entropy_forward(const at::Tensor& input, const at::Tensor& target,
                                      const std::optional<at::Tensor>& weight,
                                      std::optional<int64_t> ignore_index, double label_smoothing,
                                      const std::string& reduction);
at::Tensor cross_entropy_backward(const at::Tensor& grad_loss, const at::Tensor& saved,
                                  const at::Tensor& input, const at::Tensor& target,
                                  const std::optional<at::Tensor>& weight,
                                  std::optional<int64_t> ignore_index, double label_smoothing,
                                  const std::string& reduction);

PointwiseResult kl_div_with_logits_forward(const at::Tensor& input, const at::Tensor& target,
                                           const std::string& direction, bool log_target,
                                           const std::string& reduction);
at::Tensor kl_div_with_logits_backward(const at::Tensor& grad_loss, const at::Tensor& saved,
                                       const at::Tensor& input, const at::Tensor& target,
                                       const std::string& direction, bool log_target,
                                       const std::string& reduction);

}  // namespace fastloss
