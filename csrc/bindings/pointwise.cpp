// Losses of single scores, of rows of them and of sampled rows.
#include "bindings/bindings.h"
#include "engines/pointwise_torch.h"
#include "engines/sampled_torch.h"
#include "losses/binary_cross_entropy.h"
#include "losses/binary_cross_entropy_with_logits.h"
#include "losses/hinge_loss.h"

namespace fastloss {
namespace {

// <stem>_forward(…, reduction) and <stem>_backward(grad_loss, saved, …, reduction) of a loss of
// single scores, where … are the arguments that `adapt` turns into the engine's.
template <template <class> class Loss, class... Args>
void bind_elements(py::module_& module, const std::string& stem,
                   ElementsTensors (*adapt)(Args...)) {
  module.def((stem + "_forward").c_str(),
             [=](Args... args, const std::string& reduction) -> Tensors {
               const auto result =
                   elements_forward<Loss>(stem, adapt(std::move(args)...), reduction);
               return {result.loss, result.saved};
             },
             py::call_guard<py::gil_scoped_release>());
  module.def((stem + "_backward").c_str(),
             [=](const at::Tensor& grad_loss, const at::Tensor& saved, Args... args,
                 const std::string& reduction) {
               return elements_backward<Loss>(stem, grad_loss, saved, adapt(std::move(args)...),
                                              reduction);
             },
             py::call_guard<py::gil_scoped_release>());
}

ElementsTensors binary_cross_entropy_with_logits(at::Tensor input, at::Tensor target,
                                                 OptionalTensor weight, OptionalTensor pos_weight) {
  return {.input = input, .target = target, .weight = weight, .positive_weight = pos_weight};
}

ElementsTensors binary_cross_entropy(at::Tensor input, at::Tensor target, OptionalTensor weight) {
  return {.input = input, .target = target, .weight = weight};
}

ElementsTensors hinge_loss(at::Tensor scores, at::Tensor labels, OptionalTensor weights) {
  return {.input = scores,
          .target = labels,
          .weight = weights,
          .weight_name = "weights",
          .divides_by_weights = true};
}

// The same of a loss of rows.
template <class... Args>
void bind_rows(py::module_& module, const std::string& stem, PointwiseResult (*forward)(Args...),
               at::Tensor (*backward)(const at::Tensor&, const at::Tensor&, Args...)) {
  module.def((stem + "_forward").c_str(),
             [=](std::decay_t<Args>... args) -> Tensors {
               const auto result = forward(args...);
               return {result.loss, result.saved};
             },
             py::call_guard<py::gil_scoped_release>());
  module.def((stem + "_backward").c_str(), backward, py::call_guard<py::gil_scoped_release>());
}

// Losses of sampled rows have no backward: their gradients are those of the forward pass.
void bind_sampled(py::module_& module) {
  module.def(
      "bpr_loss_forward",
      [](at::Tensor positive, at::Tensor negative, OptionalTensor positive_where,
         OptionalTensor negative_where, OptionalTensor weights, const std::string& reduction,
         const std::vector<bool>& wanted) {
        return bpr_loss_forward({positive, negative, positive_where, negative_where, weights},
                                reduction, wanted);
      },
      py::call_guard<py::gil_scoped_release>());
  module.def(
      "pairwise_margin_loss_forward",
      [](at::Tensor positive, at::Tensor negative, OptionalTensor positive_where,
         OptionalTensor negative_where, OptionalTensor weights, double margin,
         const std::string& reduction, const std::vector<bool>& wanted) {
        return pairwise_margin_loss_forward(
            {positive, negative, positive_where, negative_where, weights}, margin, reduction,
            wanted);
      },
      py::call_guard<py::gil_scoped_release>());
  module.def(
      "sampled_softmax_loss_forward",
      [](at::Tensor positive, at::Tensor negative, OptionalTensor positive_log_q,
         OptionalTensor negative_log_q, OptionalTensor negative_where, OptionalTensor weights,
         OptionalTensor temperature_tensor, double temperature, const std::string& reduction,
         const std::vector<bool>& wanted) {
        return sampled_softmax_loss_forward({positive, negative, {}, negative_where, weights},
                                            positive_log_q, negative_log_q, temperature_tensor,
                                            temperature, reduction, wanted);
      },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void bind_pointwise_losses(py::module_& module) {
  bind_elements<BinaryCrossEntropy>(module, "binary_cross_entropy", binary_cross_entropy);
  bind_elements<BinaryCrossEntropyWithLogits>(module, "binary_cross_entropy_with_logits",
                                              binary_cross_entropy_with_logits);
  bind_elements<HingeLoss>(module, "hinge_loss", hinge_loss);
  bind_rows(module, "cross_entropy", cross_entropy_forward, cross_entropy_backward);
  bind_rows(module, "kl_div_with_logits", kl_div_with_logits_forward, kl_div_with_logits_backward);
  bind_sampled(module);
}

}  // namespace fastloss
