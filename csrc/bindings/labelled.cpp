// Losses of metric learning whose triplets are named by labels.
#include "bindings/bindings.h"
#include "engines/labelled_rows_torch.h"
#include "losses/registry.h"

namespace fastloss {
namespace {

// <stem>_forward(embeddings, labels, ref_embeddings, ref_labels, similarity, …, reduction, wanted,
// workspace) and <stem>_backward(grad_loss, rows, …, wanted, workspace), where … are numbers, the
// functor's options. Backward needs no rows: they are empty.
template <template <class> class Loss, class... Options>
void bind_labelled(py::module_& module, const std::string& stem) {
  using at::Tensor;
  module.def((stem + "_forward").c_str(),
             [=](Tensor embeddings, Tensor labels, OptionalTensor ref_embeddings,
                 OptionalTensor ref_labels, const std::string& similarity, Options... options,
                 const std::string& reduction, const std::vector<bool>& wanted,
                 int64_t workspace) -> Tensors {
               Tensors result = labelled_forward<Loss>(
                   stem, {embeddings, labels, ref_embeddings, ref_labels, similarity, workspace},
                   {static_cast<double>(options)...}, reduction, wanted);
               result.insert(result.begin() + 1, result[0].new_empty({0}));
               return result;
             },
             py::call_guard<py::gil_scoped_release>());
  module.def(
      (stem + "_backward").c_str(),
      [=](const Tensor& grad_loss, const Tensor& /*rows*/, Tensor embeddings, Tensor labels,
          OptionalTensor ref_embeddings, OptionalTensor ref_labels, const std::string& similarity,
          Options... options, const std::vector<bool>& wanted, int64_t workspace) {
        return labelled_backward<Loss>(
            stem, {embeddings, labels, ref_embeddings, ref_labels, similarity, workspace},
            {static_cast<double>(options)...}, grad_loss, wanted);
      },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void bind_labelled_losses(py::module_& module) {
  bind_labelled<BatchAllTripletLoss, double, bool, bool>(module, "batch_all_triplet_loss");
  bind_labelled<SemiHardTripletLoss, double>(module, "semi_hard_triplet_loss");
  module.def(
      "triplet_statistics",
      [](at::Tensor embeddings, at::Tensor labels, OptionalTensor ref_embeddings,
         OptionalTensor ref_labels, const std::string& similarity, double margin,
         int64_t workspace) {
        return triplet_statistics(
            {embeddings, labels, ref_embeddings, ref_labels, similarity, workspace}, margin);
      },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace fastloss
