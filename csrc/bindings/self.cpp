// Losses of one set of embeddings: each one's arguments to the engine's.
#include "bindings/bindings.h"
#include "engines/self_torch.h"
#include "losses/registry.h"

namespace fastloss {
namespace {

// <stem>_forward(…, reduction, wanted, workspace) and <stem>_backward(grad_loss, rows, …, wanted,
// workspace), where … are the arguments that `adapt` turns into the engine's.
template <template <class> class Loss, class... Args>
void bind_self(py::module_& module, const std::string& stem, SelfTensors (*adapt)(Args...)) {
  module.def((stem + "_forward").c_str(),
             [=](Args... args, const std::string& reduction, const Wanted& wanted,
                 int64_t workspace) -> Tensors {
               SelfTensors tensors = adapt(std::move(args)...);
               tensors.workspace = workspace;
               const auto result = self_forward<Loss>(stem, tensors, reduction, wanted);
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
               return self_backward<Loss>(stem, tensors, rows, grad_loss, wanted);
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

}  // namespace

void bind_self_losses(py::module_& module) {
  bind_self<NtXent>(module, "nt_xent", nt_xent);
  bind_self<SupCon>(module, "sup_con", sup_con);
}

}  // namespace fastloss
