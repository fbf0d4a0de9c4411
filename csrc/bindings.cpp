// Python's view of the kernels: the only file that sees pybind11.
//
// Every function releases the GIL. std::invalid_argument becomes ValueError.
#include <torch/csrc/utils/pybind.h>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/pairwise_torch.h"
#include "engines/pointwise_torch.h"
#include "engines/sampled_torch.h"
#include "losses/binary_cross_entropy.h"
#include "losses/binary_cross_entropy_with_logits.h"
#include "losses/hinge_loss.h"
#include "losses/registry.h"

namespace py = pybind11;

namespace fastloss {
namespace {

using OptionalTensor = std::optional<at::Tensor>;
using Tensors = std::vector<at::Tensor>;

// Which of the engine's five gradients (pairwise_torch.h, Wanted) a loss has, in its own order.
using Slots = std::vector<size_t>;

Wanted all_slots(const std::string& name, const Slots& slots, const Wanted& wanted) {
  if (wanted.size() != slots.size()) {
    throw std::invalid_argument(name + ": wanted must have " + std::to_string(slots.size()) +
                                " entries");
  }
  Wanted all(5, false);
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
         const Wanted& wanted) {
        return bpr_loss_forward({positive, negative, positive_where, negative_where, weights},
                                reduction, wanted);
      },
      py::call_guard<py::gil_scoped_release>());
  module.def(
      "pairwise_margin_loss_forward",
      [](at::Tensor positive, at::Tensor negative, OptionalTensor positive_where,
         OptionalTensor negative_where, OptionalTensor weights, double margin,
         const std::string& reduction, const Wanted& wanted) {
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
         const Wanted& wanted) {
        return sampled_softmax_loss_forward({positive, negative, {}, negative_where, weights},
                                            positive_log_q, negative_log_q, temperature_tensor,
                                            temperature, reduction, wanted);
      },
      py::call_guard<py::gil_scoped_release>());
}

constexpr const char* kSimdNames[] = {"baseline", "v3", "v4"};

void set_simd(const std::string& name) {
  for (int level = 0; level < 3; ++level) {
    if (name == kSimdNames[level]) return simd::force(static_cast<simd::Level>(level));
  }
  throw std::invalid_argument("simd must be \"baseline\", \"v3\" or \"v4\", got \"" + name + "\"");
}

py::dict build_facts() {
  py::dict facts;
  facts["version"] = FASTLOSS_VERSION;
  facts["torch_built"] = FASTLOSS_TORCH_VERSION;
#if defined(__VERSION__)
  facts["compiler"] = __VERSION__;
#endif
  facts["simd"] = kSimdNames[static_cast<int>(simd::current())];
  py::list available;
  for (int level = 0; level <= static_cast<int>(simd::widest()); ++level) {
    available.append(kSimdNames[level]);
  }
  facts["simd_available"] = available;
  facts["matrix_product"] = host::matrix_product();
  facts["bfloat16_products"] = host::multiplies_bfloat16();
  facts["cuda"] = false;
  return facts;
}

}  // namespace
}  // namespace fastloss

PYBIND11_MODULE(_C, module) {
  using namespace fastloss;
  bind_pairwise<InfoNce>(module, "info_nce", info_nce, {0, 1, 2, 3, 4});
  bind_pairwise<LinearCrossEntropy>(module, "linear_cross_entropy", linear_cross_entropy,
                                    {0, 1, 3});
  bind_pairwise<ClipLoss>(module, "clip_loss", clip_loss, {0, 1, 4});
  bind_pairwise<PairwiseLogSumExp>(module, "pairwise_logsumexp", pairwise_logsumexp, {0, 1, 3, 4});
  bind_elements<BinaryCrossEntropy>(module, "binary_cross_entropy", binary_cross_entropy);
  bind_elements<BinaryCrossEntropyWithLogits>(module, "binary_cross_entropy_with_logits",
                                              binary_cross_entropy_with_logits);
  bind_elements<HingeLoss>(module, "hinge_loss", hinge_loss);
  bind_rows(module, "cross_entropy", cross_entropy_forward, cross_entropy_backward);
  bind_rows(module, "kl_div_with_logits", kl_div_with_logits_forward, kl_div_with_logits_backward);
  bind_sampled(module);
  module.def("negatives_gradient", &pairwise_negatives_gradient,
             py::call_guard<py::gil_scoped_release>());
  module.def("scaled_gradient", &scaled_gradient, py::call_guard<py::gil_scoped_release>());
  module.def("build_facts", &build_facts);
  module.def("set_simd", &set_simd);
  module.def("set_matrix_product", &host::set_matrix_product);
  module.def("set_bfloat16_products", &host::set_bfloat16_products);
  module.def("multiply_adds", &host::multiply_adds);
}
