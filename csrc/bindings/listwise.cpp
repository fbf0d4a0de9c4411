// Losses of ranked lists: each one's options to its functor's.
#include "bindings/bindings.h"
#include "engines/listwise_torch.h"
#include "losses/registry.h"

namespace fastloss {
namespace {

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

}  // namespace

void bind_listwise_losses(py::module_& module) {
  bind_listwise<ListNetLoss>(module, "listnet_loss", listnet_loss);
  bind_listwise<PairwiseHingeLoss>(module, "pairwise_hinge_loss", pairwise_hinge_loss);
  bind_listwise<RankNetLoss>(module, "ranknet_loss", ranknet_loss);
  module.def("listwise_backward", &listwise_backward, py::call_guard<py::gil_scoped_release>());
}

}  // namespace fastloss
