// Losses of chosen triplets.
#include "bindings/bindings.h"
#include "engines/chosen_triplets_torch.h"

namespace fastloss {

void bind_chosen_losses(py::module_& module) {
  using at::Tensor;
  using std::string;
  module.def(
      "batch_hard_triplet_loss_forward",
      [](const Tensor& embeddings, const Tensor& labels, const OptionalTensor& ref_embeddings,
         const OptionalTensor& ref_labels, double margin, const string& similarity,
         const string& hinge, const string& anchors, const string& reduction,
         int64_t workspace) -> Tensors {
        const auto result = batch_hard_forward(
            {embeddings, ref_embeddings, margin, similarity, hinge, anchors, reduction}, labels,
            ref_labels, workspace);
        return {result.loss, result.chosen};
      },
      py::call_guard<py::gil_scoped_release>());
  module.def(
      "batch_hard_triplet_loss_backward",
      [](const Tensor& grad_loss, const Tensor& chosen, const Tensor& embeddings,
         const OptionalTensor& ref_embeddings, double margin, const string& similarity,
         const string& hinge, const string& anchors, const string& reduction,
         const std::vector<bool>& wanted) {
        return batch_hard_backward(
            grad_loss, chosen,
            {embeddings, ref_embeddings, margin, similarity, hinge, anchors, reduction}, wanted);
      },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace fastloss
