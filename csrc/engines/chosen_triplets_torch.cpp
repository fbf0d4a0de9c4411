// Tensors to the losses of chosen triplets and back (see chosen_triplets_torch.h).
#include "engines/chosen_triplets_torch.h"

#include <ATen/ops/empty.h>

#include "engines/chosen_triplets.h"
#include "engines/self_torch.inl"
#include "engines/values_torch.h"
#include "losses/batch_hard_triplet_loss.h"
#include "losses/triplet_margin_loss.h"

namespace fastloss {

namespace {

const std::string kName = "batch_hard_triplet_loss";

Distance distance_of(Similarity similarity) {
  switch (similarity) {
    case Similarity::kDot:
      return Distance::kDot;
    case Similarity::kCosine:
      return Distance::kCosine;
    case Similarity::kEuclidean:
      return Distance::kEuclidean;
    case Similarity::kSquaredEuclidean:
      break;
  }
  return Distance::kSquaredEuclidean;
}

// One call: dense arguments and the engine on them.
template <class T>
struct Call {
  using Engine = ChosenTriplets<TripletMarginLoss<double>, T>;

  at::Tensor embeddings, candidates, choices;
  Engine engine;
  bool mean;

  Call(const ChosenTripletTensors& of, const at::Tensor& chosen) : mean(of.reduction == "mean") {
    embeddings = candidates = dense(kName, "embeddings", of.embeddings);
    if (of.ref_embeddings) candidates = dense(kName, "ref_embeddings", *of.ref_embeddings);
    if (embeddings.dim() != 2) fail(kName, "embeddings must have 2 dimensions");
    const int64_t n = embeddings.size(0), d = embeddings.size(1);
    if (d == 0) fail(kName, "embeddings must have at least one feature");
    if (candidates.dim() != 2 || candidates.size(1) != d ||
        candidates.scalar_type() != embeddings.scalar_type()) {
      fail(kName, "ref_embeddings must have the features and the dtype of embeddings");
    }
    const int64_t m = candidates.size(0);
    choices = guarded(kName, "chosen", chosen, at::kLong, {n, 2});
    const auto* const indices = choices.template const_data_ptr<int64_t>();
    for (int64_t i = 0; i < 2 * n; ++i) {
      if (indices[i] < -1 || indices[i] >= m) fail(kName, "chosen must be candidates or -1");
    }
    if (of.hinge != "relu" && of.hinge != "softplus") {
      fail(kName, "hinge must be \"relu\" or \"softplus\", got \"" + of.hinge + "\"");
    }
    engine = {.anchors = source<T>(embeddings),
              .candidates = source<T>(candidates),
              .n = n,
              .m = m,
              .d = d,
              .itself = !of.ref_embeddings,
              .choices = reinterpret_cast<const typename Engine::Choice*>(indices),
              .between = {.kind = distance_of(similarity_of(kName, of.similarity))},
              .loss = {of.margin, of.hinge == "relu" ? Hinge::kRelu : Hinge::kSoftplus},
              .all = of.anchors == "all"};
  }

  // Of a mean: the anchors that have a loss, or all of them. 0: nothing to average.
  double overall() const {
    if (!mean) return 1;
    int64_t count = engine.n;
    if (!engine.all) {
      count = 0;
      for (int64_t i = 0; i < engine.n; ++i) count += engine.counts(i);
    }
    return count == 0 ? 0 : 1 / static_cast<double>(count);
  }
};

// By squared distances where the distance is their root: they are in the same order.
template <class S>
at::Tensor hardest(const ChosenTripletTensors& of, const at::Tensor& labels,
                   const std::optional<at::Tensor>& ref_labels, int64_t workspace) {
  using T = typename Stored<S>::Accumulated;
  using Loss = BatchHardTripletLoss<T>;
  const SelfTensors tensors{
      .rows = of.embeddings,
      .others = of.ref_embeddings,
      .itself = !of.ref_embeddings,
      .labels = labels,
      .other_labels = ref_labels,
      .similarity = of.similarity == "euclidean" ? "sqeuclidean" : of.similarity,
      .workspace = workspace};
  const SelfArguments<S> arguments(kName, tensors, false);
  const auto& in = arguments.input;
  const host::Buffer<typename Loss::Row> rows(in.n);
  SelfCpu<Loss, S>(in, Loss{arguments.labels}).forward(rows.data());
  const at::Tensor chosen = at::empty({in.n, 2}, at::kLong);
  auto* const out = chosen.template mutable_data_ptr<int64_t>();
  const int64_t first = in.itself ? 0 : in.n;
  const auto place = [&](int64_t candidate) {
    return candidate == Loss::kNone ? -1 : candidate - first;
  };
  for (int64_t i = 0; i < in.n; ++i) {
    out[2 * i] = place(rows[i].positive);
    out[2 * i + 1] = place(rows[i].negative);
  }
  return chosen;
}

template <class T>
at::Tensor loss_of(const Call<T>& call, const std::string& reduction) {
  const at::Tensor rows = at::empty({call.engine.n}, accumulated_dtype<T>);
  const T* const losses = rows.template const_data_ptr<T>();
  call.engine.forward(rows.template mutable_data_ptr<T>());
  if (reduction == "none") return rows;
  double sum = 0;
  for (int64_t i = 0; i < call.engine.n; ++i) sum += static_cast<double>(losses[i]);
  const at::Tensor loss = at::empty({}, accumulated_dtype<T>);
  const double overall = call.overall();
  *loss.template mutable_data_ptr<T>() = overall == 0 ? T(0) : static_cast<T>(sum * overall);
  return loss;
}

template <class T>
std::vector<at::Tensor> gradients_of(const Call<T>& call, const at::Tensor& grad_loss,
                                     const std::string& reduction,
                                     const std::vector<bool>& wanted) {
  const bool none = reduction == "none";
  const std::vector<int64_t> shape =
      none ? std::vector<int64_t>{call.engine.n} : std::vector<int64_t>{};
  const at::Tensor upstream = guarded(kName, "grad_loss", grad_loss, accumulated_dtype<T>, shape);
  const T* const given = upstream.template const_data_ptr<T>();
  std::vector<at::Tensor> result;
  for (size_t o = 0; o < 2; ++o) {
    const at::Tensor& operand = o == 0 ? call.embeddings : call.candidates;
    result.push_back(wanted[o] ? empty_like(operand) : at::empty({0}, operand.options()));
  }
  const auto to = [&](size_t o) { return wanted[o] ? sink<T>(result[o]) : Sink<T>{}; };
  const double overall = call.overall();
  call.engine.backward(
      [=](int64_t i) { return overall * static_cast<double>(given[none ? i : 0]); }, to(0), to(1));
  return result;
}

}  // namespace

ChosenTripletResult batch_hard_forward(const ChosenTripletTensors& tensors,
                                       const at::Tensor& labels,
                                       const std::optional<at::Tensor>& ref_labels,
                                       int64_t workspace) {
  if constexpr (kCuda) {
    if (on_device(tensors.embeddings))
      return device::batch_hard_forward(tensors, labels, ref_labels, workspace);
  }
  return with_stored_type(tensors.embeddings.scalar_type(), [&](auto stored) {
    using S = decltype(stored);
    using T = typename Stored<S>::Accumulated;
    const at::Tensor chosen = hardest<S>(tensors, labels, ref_labels, workspace);
    return ChosenTripletResult{loss_of(Call<T>(tensors, chosen), tensors.reduction), chosen};
  });
}

std::vector<at::Tensor> batch_hard_backward(const at::Tensor& grad_loss, const at::Tensor& chosen,
                                            const ChosenTripletTensors& tensors,
                                            const std::vector<bool>& wanted) {
  if constexpr (kCuda) {
    if (on_device(tensors.embeddings))
      return device::batch_hard_backward(grad_loss, chosen, tensors, wanted);
  }
  if (wanted.size() != 2) fail(kName, "wanted must have 2 entries");
  if (wanted[1] && !tensors.ref_embeddings) {
    fail(kName, "ref_embeddings must be given for their gradient");
  }
  return with_accumulated_type(tensors.embeddings.scalar_type(), [&](auto accumulated) {
    using T = decltype(accumulated);
    return gradients_of(Call<T>(tensors, chosen), grad_loss, tensors.reduction, wanted);
  });
}

}  // namespace fastloss
