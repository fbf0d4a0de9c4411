// Losses of one set of embeddings: each one's arguments to the engine's.
#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "bindings/bindings.h"
#include "engines/self_torch.h"
#include "losses/registry.h"

namespace fastloss {
namespace {

Wanted with_scale(Wanted wanted) {
  if (wanted.size() == 2) wanted.push_back(false);
  return wanted;
}

// <stem>_forward(…, reduction, wanted, workspace) and <stem>_backward(grad_loss, rows, …, wanted,
// workspace), where … are the arguments that `adapt` turns into the engine's. A loss without a
// scale asks for two gradients and gets two.
template <template <class> class Loss, class... Args>
void bind_self(py::module_& module, const std::string& stem, SelfTensors (*adapt)(Args...)) {
  module.def((stem + "_forward").c_str(),
             [=](Args... args, const std::string& reduction, const Wanted& wanted,
                 int64_t workspace) -> Tensors {
               SelfTensors tensors = adapt(std::move(args)...);
               tensors.workspace = workspace;
               auto result = self_forward<Loss>(stem, tensors, reduction, with_scale(wanted));
               result.gradients.resize(wanted.size());
               Tensors out{result.loss, result.rows};
               out.insert(out.end(), result.gradients.begin(), result.gradients.end());
               return out;
             },
             py::call_guard<py::gil_scoped_release>());
  module.def((stem + "_backward").c_str(),
             [=](const at::Tensor& grad_loss, const at::Tensor& rows, Args... args,
                 const Wanted& wanted, int64_t workspace) -> Tensors {
               SelfTensors tensors = adapt(std::move(args)...);
               tensors.workspace = workspace;
               auto gradients =
                   self_backward<Loss>(stem, tensors, rows, grad_loss, with_scale(wanted));
               gradients.resize(wanted.size());
               return gradients;
             },
             py::call_guard<py::gil_scoped_release>());
}

SelfTensors nt_xent(at::Tensor views, OptionalTensor queue, OptionalTensor weights,
                    OptionalTensor temperature_tensor, double temperature, std::string similarity,
                    bool decoupled) {
  return {.rows = views,
          .others = queue,
          .weights = weights,
          .scale = {temperature_tensor, temperature, true},
          .similarity = similarity,
          .options = {decoupled ? 1.0 : 0.0},
          .names = {.rows = "views", .others = "queue"}};
}

SelfTensors sup_con(at::Tensor embeddings, at::Tensor labels, OptionalTensor ref_embeddings,
                    OptionalTensor ref_labels, OptionalTensor weights,
                    OptionalTensor temperature_tensor, double temperature, std::string similarity) {
  return {.rows = embeddings,
          .others = ref_embeddings,
          .itself = !ref_embeddings,
          .labels = labels,
          .other_labels = ref_labels,
          .weights = weights,
          .scale = {temperature_tensor, temperature, true},
          .similarity = similarity};
}

SelfTensors pairwise_contrastive(at::Tensor embeddings, at::Tensor labels,
                                 OptionalTensor ref_embeddings, OptionalTensor ref_labels,
                                 double margin, double scale, std::string negative_term,
                                 std::string similarity) {
  constexpr const char* kTerms[] = {"margin_minus_d_sq", "margin_sq_minus_d_sq", "linear",
                                    "as_published"};
  const auto term = std::find(std::begin(kTerms), std::end(kTerms), negative_term);
  if (term == std::end(kTerms)) {
    throw std::invalid_argument("pairwise_contrastive_loss: negative_term is unknown: \"" +
                                negative_term + "\"");
  }
  return {.rows = embeddings,
          .others = ref_embeddings,
          .itself = !ref_embeddings,
          .labels = labels,
          .other_labels = ref_labels,
          .similarity = similarity,
          .options = {margin, scale, static_cast<double>(term - std::begin(kTerms)),
                      similarity == "cosine" ? 1.0 : 0.0}};
}

}  // namespace

void bind_self_losses(py::module_& module) {
  bind_self<NtXent>(module, "nt_xent", nt_xent);
  bind_self<PairwiseContrastiveLoss>(module, "pairwise_contrastive_loss", pairwise_contrastive);
  bind_self<SupCon>(module, "sup_con", sup_con);
}

}  // namespace fastloss
