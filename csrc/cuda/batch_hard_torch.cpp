// Tensors to batch-hard triplets on the device, and back (engines/chosen_triplets_torch.h).
#include <ATen/ops/arange.h>
#include <ATen/ops/searchsorted.h>

#include "cuda/batch_hard_run.h"
#include "cuda/self_arguments_torch.h"
#include "engines/chosen_triplets_torch.h"

namespace fastloss::device {

namespace {

const std::string kName = "batch_hard_triplet_loss";

// The chosen rows of a call.
template <class S>
class Choices : public HeldOnDevice<typename Stored<S>::Accumulated> {
 public:
  using T = typename Stored<S>::Accumulated;

  ChosenOnDevice<S, T> input{};
  at::Tensor embeddings, candidates;

  Choices(const ChosenTripletTensors& of, const at::Tensor& chosen)
      : HeldOnDevice<T>(kName, of.embeddings) {
    if (of.embeddings.dim() != 2) fail(kName, "embeddings must have 2 dimensions");
    const int64_t n = input.n = of.embeddings.size(0), d = input.d = of.embeddings.size(1);
    if (d == 0) fail(kName, "embeddings must have at least one feature");
    embeddings = candidates = this->guarded("embeddings", of.embeddings, Stored<S>::dtype, {n, d});
    if (of.ref_embeddings) {
      if (of.ref_embeddings->dim() != 2) fail(kName, "ref_embeddings must have 2 dimensions");
      candidates = this->guarded("ref_embeddings", *of.ref_embeddings, Stored<S>::dtype,
                                 {of.ref_embeddings->size(0), d});
    }
    if (of.hinge != "relu" && of.hinge != "softplus") {
      fail(kName, "hinge must be \"relu\" or \"softplus\", got \"" + of.hinge + "\"");
    }
    input.m = candidates.size(0);
    input.anchors = stored_data<S>(embeddings);
    input.candidates = stored_data<S>(candidates);
    input.itself = !of.ref_embeddings;
    input.choices = this->hold(this->guarded("chosen", chosen, at::kLong, {n, 2}))
                        .template const_data_ptr<int64_t>();
    input.similarity = similarity_of(kName, of.similarity);
    input.loss = {of.margin, of.hinge == "relu" ? Hinge::kRelu : Hinge::kSoftplus};
    input.all_anchors = of.anchors == "all";
    input.mean = of.reduction == "mean";
  }
};

// By squared distances where the distance is their root: they are in the same order.
template <class S>
at::Tensor hardest_of(const ChosenTripletTensors& of, const at::Tensor& labels,
                      const std::optional<at::Tensor>& ref_labels, int64_t workspace) {
  using T = typename Stored<S>::Accumulated;
  const SelfTensors tensors{
      .rows = of.embeddings,
      .others = of.ref_embeddings,
      .itself = !of.ref_embeddings,
      .labels = labels,
      .other_labels = ref_labels,
      .similarity = of.similarity == "euclidean" ? "sqeuclidean" : of.similarity,
      .workspace = workspace};
  SelfDeviceArguments<S> arguments(kName, tensors, false, false, nullptr);
  const at::Tensor chosen = arguments.empty({arguments.input.n, 2}, at::kLong);
  hardest<S, T>(arguments.runtime(), arguments.input, arguments.labels,
                chosen.template mutable_data_ptr<int64_t>());
  return chosen;
}

}  // namespace

ChosenTripletResult batch_hard_forward(const ChosenTripletTensors& tensors,
                                       const at::Tensor& labels,
                                       const std::optional<at::Tensor>& ref_labels,
                                       int64_t workspace) {
  return with_stored_type(tensors.embeddings.scalar_type(), [&](auto stored) {
    using S = decltype(stored);
    using T = typename Stored<S>::Accumulated;
    const at::Tensor chosen = hardest_of<S>(tensors, labels, ref_labels, workspace);
    Choices<S> choices(tensors, chosen);
    const bool each = tensors.reduction == "none";
    const at::Tensor loss = each ? choices.empty({choices.input.n}) : choices.empty({});
    T* const out = loss.template mutable_data_ptr<T>();
    chosen_forward<S, T>(choices.runtime(), choices.input, each ? out : nullptr,
                         each ? nullptr : out);
    return ChosenTripletResult{loss, chosen};
  });
}

std::vector<at::Tensor> batch_hard_backward(const at::Tensor& grad_loss, const at::Tensor& chosen,
                                            const ChosenTripletTensors& tensors,
                                            const std::vector<bool>& wanted) {
  if (wanted.size() != 2) fail(kName, "wanted must have 2 entries");
  if (wanted[1] && !tensors.ref_embeddings) {
    fail(kName, "ref_embeddings must be given for their gradient");
  }
  return with_stored_type(tensors.embeddings.scalar_type(), [&](auto stored) {
    using S = decltype(stored);
    using T = typename Stored<S>::Accumulated;
    Choices<S> choices(tensors, chosen);
    auto& in = choices.input;
    in.one_upstream = tensors.reduction != "none";
    const at::Tensor upstream = choices.guarded(
        "grad_loss", grad_loss, Stored<T>::dtype,
        in.one_upstream ? at::IntArrayRef{} : at::IntArrayRef{choices.embeddings.size(0)});
    in.upstream = stored_data<T>(upstream);
    // Who has chosen a candidate, anchors ascending: equal keys keep their order.
    const auto [sorted, choosers] = at::sort(chosen.contiguous().flatten(), true, 0, false);
    const at::Tensor begin =
        at::searchsorted(sorted, at::arange(in.m + 1, sorted.options())).contiguous();
    std::vector<at::Tensor> result;
    for (size_t o = 0; o < 2; ++o) {
      const at::Tensor& operand = o == 0 ? choices.embeddings : choices.candidates;
      result.push_back(
          at::empty(wanted[o] ? operand.sizes() : at::IntArrayRef{0}, operand.options()));
    }
    const auto place = [&](size_t o) {
      return wanted[o] ? static_cast<S*>(result[o].mutable_data_ptr()) : nullptr;
    };
    chosen_backward<S, T>(choices.runtime(), in, begin.template const_data_ptr<int64_t>(),
                          choosers.template const_data_ptr<int64_t>(), place(0), place(1));
    return result;
  });
}

}  // namespace fastloss::device
