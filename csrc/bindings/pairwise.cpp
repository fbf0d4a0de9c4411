// Losses of embeddings: each one's arguments to the pairwise engine's.
#include <cmath>

#include "bindings/bindings.h"
#include "engines/pairwise_torch.h"
#include "losses/registry.h"

namespace fastloss {
namespace {

// Which of the engine's gradients (pairwise_torch.h, Wanted) a loss has, in its own order.
using Slots = std::vector<size_t>;

Wanted all_slots(const std::string& name, const Slots& slots, const Wanted& wanted) {
  if (wanted.size() != slots.size()) {
    throw std::invalid_argument(name + ": wanted must have " + std::to_string(slots.size()) +
                                " entries");
  }
  Wanted all(kWanted, false);
  for (size_t i = 0; i < slots.size(); ++i) all[slots[i]] = wanted[i];
  return all;
}

void append(Tensors& out, const PairwiseGradientTensors& gradients, const Slots& slots) {
  for (const size_t slot : slots) out.push_back(gradients[slot]);
}

// <stem>_forward(…, reduction, wanted, workspace) and <stem>_backward(grad_loss, rows, …, wanted,
// workspace), where … are the arguments that `adapt` turns into the engine's.
template <template <class> class Loss, class... Args>
void bind_pairwise(py::module_& module, const std::string& stem, PairwiseTensors (*adapt)(Args...),
                   const Slots& slots) {
  module.def((stem + "_forward").c_str(),
             [=](Args... args, const std::string& reduction, const Wanted& wanted,
                 int64_t workspace) -> Tensors {
               PairwiseTensors tensors = adapt(std::move(args)...);
               tensors.workspace = workspace;
               const auto result =
                   pairwise_forward<Loss>(stem, tensors, reduction, all_slots(stem, slots, wanted));
               Tensors out{result.loss, result.rows};
               append(out, result.gradients, slots);
               return out;
             },
             py::call_guard<py::gil_scoped_release>());
  module.def((stem + "_backward").c_str(),
             [=](const at::Tensor& grad_loss, const at::Tensor& rows, Args... args,
                 const Wanted& wanted, int64_t workspace) -> Tensors {
               PairwiseTensors tensors = adapt(std::move(args)...);
               tensors.workspace = workspace;
               Tensors out;
               append(out,
                      pairwise_backward<Loss>(stem, tensors, rows, grad_loss,
                                              all_slots(stem, slots, wanted)),
                      slots);
               return out;
             },
             py::call_guard<py::gil_scoped_release>());
}

PairwiseTensors info_nce(at::Tensor query, at::Tensor key, OptionalTensor target,
                         OptionalTensor negatives, OptionalTensor key_bias, OptionalTensor key_ids,
                         OptionalTensor weights, OptionalTensor temperature_tensor,
                         double temperature, std::string similarity, double margin,
                         double label_smoothing, bool decoupled) {
  return {.query = query,
          .key = key,
          .target = target,
          .negatives = negatives,
          .key_bias = key_bias,
          .key_ids = key_ids,
          .weights = weights,
          .scale = {temperature_tensor, temperature, true},
          .similarity = similarity,
          .margin = margin,
          .options = {label_smoothing, decoupled ? 1.0 : 0.0}};
}

PairwiseTensors linear_cross_entropy(at::Tensor input, at::Tensor linear_weight, at::Tensor target,
                                     OptionalTensor linear_bias, OptionalTensor weight,
                                     std::optional<int64_t> ignore_index, double label_smoothing) {
  return {.query = input,
          .key = linear_weight,
          .target = target,
          .key_bias = linear_bias,
          .key_weight = weight,
          .ignored_target = ignore_index,
          .options = {label_smoothing},
          .names = {.query = "input",
                    .key = "linear_weight",
                    .key_bias = "linear_bias",
                    .key_weight = "weight"}};
}

PairwiseTensors clip_loss(at::Tensor image, at::Tensor text, OptionalTensor key_ids,
                          OptionalTensor weights, OptionalTensor logit_scale_tensor,
                          double logit_scale, std::string similarity, double label_smoothing) {
  return {.query = image,
          .key = text,
          .key_ids = key_ids,
          .weights = weights,
          .scale = {logit_scale_tensor, logit_scale, false},
          .similarity = similarity,
          .options = {label_smoothing},
          .names = {.query = "image", .key = "text", .scale = "logit_scale"}};
}

PairwiseTensors pairwise_logsumexp(at::Tensor query, at::Tensor key, OptionalTensor key_bias,
                                   OptionalTensor temperature_tensor, double temperature,
                                   std::string similarity) {
  return {.query = query,
          .key = key,
          .key_bias = key_bias,
          .scale = {temperature_tensor, temperature, true},
          .similarity = similarity};
}

// A number that may be given as a tensor.
double number(const std::string& name, const char* argument, const OptionalTensor& tensor,
              double value) {
  if (!tensor) return value;
  if (tensor->numel() != 1) {
    throw std::invalid_argument(name + ": " + argument + " must be a single number");
  }
  if (on_device(*tensor)) return value;  // read where it lies: PairwiseTensors::option
  value = tensor->item<double>();
  if (!std::isfinite(value)) {
    throw std::invalid_argument(name + ": " + argument + " must be finite, got " +
                                std::to_string(value));
  }
  return value;
}

PairwiseTensors siglip_loss(at::Tensor image, at::Tensor text, OptionalTensor target,
                            OptionalTensor key_ids, OptionalTensor weights,
                            OptionalTensor logit_scale_tensor, OptionalTensor logit_bias_tensor,
                            double logit_scale, double logit_bias, std::string similarity) {
  return {.query = image,
          .key = text,
          .target = target,
          .key_ids = key_ids,
          .weights = weights,
          .target_may_lack = true,
          .scale = {logit_scale_tensor, logit_scale, false},
          .similarity = similarity,
          .options = {number("siglip_loss", "logit_bias", logit_bias_tensor, logit_bias)},
          .option = logit_bias_tensor,
          .names = {.query = "image", .key = "text", .scale = "logit_scale"}};
}

PairwiseTensors in_batch_loss(at::Tensor query, at::Tensor key, OptionalTensor key_ids,
                              OptionalTensor weights, OptionalTensor temperature_tensor,
                              double temperature, std::string similarity) {
  return {.query = query,
          .key = key,
          .key_ids = key_ids,
          .weights = weights,
          .mean_of_pairs = true,
          .scale = {temperature_tensor, temperature, true},
          .similarity = similarity};
}

PairwiseTensors in_batch_hinge_loss(at::Tensor query, at::Tensor key, OptionalTensor key_ids,
                                    OptionalTensor weights, OptionalTensor temperature_tensor,
                                    double temperature, std::string similarity, double margin) {
  PairwiseTensors tensors =
      in_batch_loss(query, key, key_ids, weights, temperature_tensor, temperature, similarity);
  tensors.options = {margin};
  return tensors;
}

}  // namespace

void bind_pairwise_losses(py::module_& module) {
  bind_pairwise<InfoNce>(module, "info_nce", info_nce, {0, 1, 2, 3, 4});
  bind_pairwise<LinearCrossEntropy>(module, "linear_cross_entropy", linear_cross_entropy,
                                    {0, 1, 3});
  bind_pairwise<ClipLoss>(module, "clip_loss", clip_loss, {0, 1, 4});
  bind_pairwise<PairwiseLogSumExp>(module, "pairwise_logsumexp", pairwise_logsumexp, {0, 1, 3, 4});
  bind_pairwise<SigLipLoss>(module, "siglip_loss", siglip_loss, {0, 1, 4, 5});
  bind_pairwise<InBatchBprLoss>(module, "in_batch_bpr_loss", in_batch_loss, {0, 1, 4});
  bind_pairwise<InBatchHingeLoss>(module, "in_batch_hinge_loss", in_batch_hinge_loss, {0, 1, 4});
  module.def("negatives_gradient", &pairwise_negatives_gradient,
             py::call_guard<py::gil_scoped_release>());
  module.def("scaled_gradient", &scaled_gradient, py::call_guard<py::gil_scoped_release>());
}

}  // namespace fastloss
