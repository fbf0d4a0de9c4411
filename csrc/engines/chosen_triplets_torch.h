// Losses of triplets that are chosen, on tensors: memory-safety guard, allocation, dtype dispatch.
//
// The forward pass chooses by the scores of all anchors and candidates (losses/batch_hard_…), once,
// and keeps the choice; everything else is O(n · d) of the chosen rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

namespace fastloss {

// embeddings (n, d), ref_embeddings (k, d).
struct ChosenTripletTensors {
  at::Tensor embeddings;
  std::optional<at::Tensor> ref_embeddings;
  double margin;
  std::string similarity, hinge, anchors;
  std::string reduction;
};

struct ChosenTripletResult {
  at::Tensor loss;
  at::Tensor chosen;  // (n, 2) int64: candidates, −1 where there is none
};

// labels (n), ref_labels (k) int64.
ChosenTripletResult batch_hard_forward(const ChosenTripletTensors& tensors,
                                       const at::Tensor& labels,
                                       const std::optional<at::Tensor>& ref_labels,
                                       int64_t workspace);

// {grad_embeddings, grad_ref_embeddings} in the embeddings' dtype, empty where not wanted.
std::vector<at::Tensor> batch_hard_backward(const at::Tensor& grad_loss, const at::Tensor& chosen,
                                            const ChosenTripletTensors& tensors,
                                            const std::vector<bool>& wanted);

// The same on the device (cuda/batch_hard_torch.cpp).
namespace device {

ChosenTripletResult batch_hard_forward(const ChosenTripletTensors& tensors,
                                       const at::Tensor& labels,
                                       const std::optional<at::Tensor>& ref_labels,
                                       int64_t workspace);
std::vector<at::Tensor> batch_hard_backward(const at::Tensor& grad_loss, const at::Tensor& chosen,
                                            const ChosenTripletTensors& tensors,
                                            const std::vector<bool>& wanted);

}  // namespace device

}  // namespace fastloss
