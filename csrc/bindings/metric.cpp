// Losses of metric learning.
#include "bindings/bindings.h"
#include "engines/rowwise_torch.h"

namespace fastloss {
namespace {

// <stem>_forward(…, reduction) and <stem>_backward(grad_loss, saved, …, reduction, wanted), where …
// are the members of Arguments, of the types Args.
template <class Arguments, class... Args>
void bind_rowwise(py::module_& module, const std::string& stem) {
  module.def((stem + "_forward").c_str(),
             [](Args... args, const std::string& reduction) -> Tensors {
               const auto result = rowwise_forward(Arguments{std::move(args)...}, reduction);
               return {result.loss, result.saved};
             },
             py::call_guard<py::gil_scoped_release>());
  module.def((stem + "_backward").c_str(),
             [](const at::Tensor& grad_loss, const at::Tensor& saved, Args... args,
                const std::string& reduction, const std::vector<bool>& wanted) {
               return rowwise_backward(grad_loss, saved, Arguments{std::move(args)...}, reduction,
                                       wanted);
             },
             py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void bind_metric_losses(py::module_& module) {
  using at::Tensor;
  using std::string;
  bind_rowwise<TripletMarginArguments, Tensor, Tensor, Tensor, OptionalTensor, double, string,
               double, double, bool, string>(module, "triplet_margin_loss");
  bind_rowwise<LabelledTripletArguments, Tensor, Tensor, Tensor, Tensor, double, string>(
      module, "labelled_triplet_loss");
  bind_rowwise<ContrastiveArguments, Tensor, Tensor, Tensor, double, int64_t, string, double,
               string>(module, "contrastive_loss");
}

}  // namespace fastloss
