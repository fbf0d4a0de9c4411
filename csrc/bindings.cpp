// Python's view of the kernels: the only file that sees pybind11.
//
// Every function releases the GIL. std::invalid_argument becomes ValueError.
#include <torch/csrc/utils/pybind.h>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/listwise_torch.h"
#include "engines/pairwise_torch.h"
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

// <stem>_forward(scores, labels, where, offsets, weights, list_weights, …, reduction, wanted),
// where … are the arguments that `adapt` turns into the functor's options.
template <template <class> class Loss, class... Args>
void bind_listwise(py::module_& module, const std::string& stem,
                   typename Loss<float>::Options (*adapt)(Args...)) {
  module.def((stem + "_forward").c_str(),
             [=](at::Tensor scores, at::Tensor labels, OptionalTensor where, OptionalTensor offsets,
                 OptionalTensor weights, OptionalTensor list_weights, Args... args,
                 const std::string& reduction, bool wanted) {
               return listwise_forward<Loss>(
                   stem, {scores, labels, where, offsets, weights, list_weights},
                   adapt(std::move(args)...), reduction, wanted);
             },
             py::call_guard<py::gil_scoped_release>());
}

// The value that a name stands for.
template <class Value>
Value named(const char* argument, const std::string& name,
            std::initializer_list<std::pair<const char*, Value>> values) {
  for (const auto& [known, value] : values) {
    if (name == known) return value;
  }
  throw std::invalid_argument(std::string("unknown ") + argument + " \"" + name + "\"");
}

PairMethod method_of(const std::string& name) {
  return named<PairMethod>("method", name,
                           {{"auto", PairMethod::kAuto},
                            {"pairs", PairMethod::kPairs},
                            {"sorted", PairMethod::kSorted}});
}

RankNetOptions ranknet_loss(double sigma, bool ties_half, bool label_diff, std::string method,
                            double scale) {
  return {sigma, scale, {ties_half, label_diff, method_of(method)}};
}

PairwiseHingeOptions pairwise_hinge_loss(double margin, int64_t power, bool label_diff,
                                         std::string method) {
  if (power != 1 && power != 2) throw std::invalid_argument("power must be 1 or 2");
  return {margin, static_cast<int>(power), {false, label_diff, method_of(method)}};
}

ListNetOptions listnet_loss(std::string target, double label_temperature, std::string gain) {
  using Target = ListNetOptions::Target;
  const auto gains =
      named<Target>("gain", gain, {{"exp2", Target::kExp2Gain}, {"linear", Target::kRaw}});
  return {named<Target>("target", target,
                        {{"softmax", Target::kSoftmax},
                         {"normalize", Target::kNormalize},
                         {"raw", Target::kRaw},
                         {"gain", gains}}),
          label_temperature};
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
  bind_listwise<ListNetLoss>(module, "listnet_loss", listnet_loss);
  bind_listwise<PairwiseHingeLoss>(module, "pairwise_hinge_loss", pairwise_hinge_loss);
  bind_listwise<RankNetLoss>(module, "ranknet_loss", ranknet_loss);
  module.def("listwise_backward", &listwise_backward, py::call_guard<py::gil_scoped_release>());
  module.def("negatives_gradient", &pairwise_negatives_gradient,
             py::call_guard<py::gil_scoped_release>());
  module.def("scaled_gradient", &scaled_gradient, py::call_guard<py::gil_scoped_release>());
  module.def("build_facts", &build_facts);
  module.def("set_simd", &set_simd);
  module.def("set_matrix_product", &host::set_matrix_product);
  module.def("set_bfloat16_products", &host::set_bfloat16_products);
  module.def("multiply_adds", &host::multiply_adds);
}
