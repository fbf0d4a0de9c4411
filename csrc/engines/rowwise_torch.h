// The row-wise engine on tensors: memory-safety guard, checks of values, allocation, dtypes.
//
// Checks of meaning live in Python; here stands what keeps every pointer in bounds, and the checks
// of values (labels, weights), which must not interrupt a compiled graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

namespace fastloss {

struct RowwiseResult {
  at::Tensor loss;
  at::Tensor saved;  // (n, distances a row): what backward needs beside the arguments
};

// Of the operands, in their order; empty where not wanted.
using RowwiseGradients = std::vector<at::Tensor>;

// anchor and positive (n, d), negative (n, h, d), weights (n).
struct TripletMarginArguments {
  at::Tensor anchor, positive, negative;
  std::optional<at::Tensor> weights;
  double margin;
  std::string similarity;
  double p, eps;
  bool swap;
  std::string hinge;
};

// anchor, positive and negative (n, d), label (n).
struct LabelledTripletArguments {
  at::Tensor anchor, positive, negative, label;
  double margin;
  std::string hinge;
};

// x1 and x2 (n, d), label (n).
struct ContrastiveArguments {
  at::Tensor x1, x2, label;
  double margin;
  int64_t similar_label;
  std::string negative_term;
  double scale;
  std::string similarity;
};

// For each of them; defined in rowwise_torch.cpp.
template <class Arguments>
RowwiseResult rowwise_forward(const Arguments& arguments, const std::string& reduction);
template <class Arguments>
RowwiseGradients rowwise_backward(const at::Tensor& grad_loss, const at::Tensor& saved,
                                  const Arguments& arguments, const std::string& reduction,
                                  const std::vector<bool>& wanted);

}  // namespace fastloss
