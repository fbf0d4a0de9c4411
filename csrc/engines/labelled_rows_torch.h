// The engine of labelled rows on tensors: memory-safety guard, allocation, dtype dispatch. Checks
// of meaning live in Python.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

namespace fastloss {

// embeddings (n, d) with labels (n) int64, compared with each other, or with ref_embeddings (m, d)
// of ref_labels (m).
struct LabelledTensors {
  at::Tensor embeddings, labels;
  std::optional<at::Tensor> ref_embeddings{}, ref_labels{};
  std::string similarity = "euclidean";
  int64_t workspace = 0;
};

// {loss () or, for "none", (n); grad_embeddings (n, d), grad_ref_embeddings (m, d)}, of the
// accumulation type; gradients not wanted are empty. `options` are the functor's own. Defined for
// every registered loss.
template <template <class> class Loss>
std::vector<at::Tensor> labelled_forward(const std::string& name, const LabelledTensors& tensors,
                                         const std::vector<double>& options,
                                         const std::string& reduction,
                                         const std::vector<bool>& wanted);

// The gradients again, those of anchor i times grad_loss[i].
template <template <class> class Loss>
std::vector<at::Tensor> labelled_backward(const std::string& name, const LabelledTensors& tensors,
                                          const std::vector<double>& options,
                                          const at::Tensor& grad_loss,
                                          const std::vector<bool>& wanted);

// {(4) int64: active, valid, hard and semi-hard triplets; (2): mean distances of positive and of
// negative pairs}.
std::vector<at::Tensor> triplet_statistics(const LabelledTensors& tensors, double margin);

}  // namespace fastloss
