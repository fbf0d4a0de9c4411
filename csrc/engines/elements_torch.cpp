// Losses of single scores on tensors (see pointwise_torch.h).
#include <ATen/ops/empty.h>

#include <vector>

#include "engines/pointwise_arguments.h"
#include "engines/pointwise_torch.h"
#include "losses/binary_cross_entropy.h"
#include "losses/binary_cross_entropy_with_logits.h"
#include "losses/hinge_loss.h"

namespace fastloss {

namespace {

// Whether `tensor`, repeated along its leading dimensions, covers `shape`; a trailing part of it.
bool repeats(const at::Tensor& tensor, at::IntArrayRef shape) {
  int64_t lead = 0;
  while (lead < tensor.dim() && tensor.size(lead) == 1) ++lead;
  const at::IntArrayRef own = tensor.sizes().slice(lead);
  return own.size() <= shape.size() && own == shape.slice(shape.size() - own.size());
}

template <class T>
class ElementArguments {
 public:
  ElementsInput<T> input{};

  ElementArguments(const std::string& name, const ElementsTensors& t) : name_(name) {
    const at::IntArrayRef shape = t.input.sizes();
    if (t.target.sizes() != shape) {
      fail(name, "target must have shape " + show(shape) + ", got " + show(t.target.sizes()));
    }
    input.count = t.input.numel();
    input.input = source<T>(hold(dense(name, "input", t.input)));
    const bool as_stored = t.target.is_floating_point();
    input.target = source<T>(
        hold(dense(name, "target", as_stored ? t.target : t.target.to(accumulated_dtype<T>))));
    input.weight = pattern(t.weight_name, t.weight, shape);
    input.positive_weight = pattern("pos_weight", t.positive_weight, shape);
  }

 private:
  const at::Tensor& hold(at::Tensor tensor) {
    keep_.push_back(std::move(tensor));
    return keep_.back();
  }

  Pattern<T> pattern(const char* argument, const std::optional<at::Tensor>& tensor,
                     at::IntArrayRef shape) {
    if (!tensor || input.count == 0) return {};
    at::Tensor wide = tensor->to(accumulated_dtype<T>);
    if (!repeats(wide, shape)) wide = wide.expand(shape);
    wide = hold(dense(name_, argument, wide));
    const int64_t period = wide.numel();
    const T* const values = wide.template const_data_ptr<T>();
    for (int64_t i = 0; i < period; ++i) {
      if (values[i] < T(0)) {
        fail(name_, std::string(argument) + " must not be negative, got " +
                        std::to_string(values[i]) + " at " + std::to_string(i));
      }
    }
    if (period == input.count) return {values, period};
    const int64_t repeated = period + kElementSpan;
    T* const out = hold(at::empty({repeated}, accumulated_dtype<T>)).template mutable_data_ptr<T>();
    for (int64_t i = 0; i < repeated; ++i) out[i] = values[i % period];
    return {out, period};
  }

  std::string name_;
  std::vector<at::Tensor> keep_;
};
template <class Loss, class T>
PointwiseResult elements_forward_as(const std::string& name, const ElementsTensors& tensors,
                                    const std::string& reduction) {
  const ElementArguments<T> arguments(name, tensors);
  const ElementsInput<T>& in = arguments.input;
  const bool none = reduction == "none";
  const at::Tensor loss = none ? at::empty(tensors.input.sizes(), accumulated_dtype<T>)
                               : at::empty({}, accumulated_dtype<T>);
  T* const out = loss.template mutable_data_ptr<T>();
  const auto sums = ElementsCpu<Loss, T>(in, Loss{}).forward(none ? out : nullptr);
  if (sums.outside) {
    check_values(name, Loss::kInputName, Loss::kInputRule, in.input, in.count, Loss::takes_input);
    check_values(name, Loss::kTargetName, Loss::kTargetRule, in.target, in.count,
                 Loss::takes_target);
  }
  double divisor = 1;
  if (reduction == "mean") {
    divisor = tensors.divides_by_weights ? sums.weight : static_cast<double>(in.count);
  }
  if (!none) *out = divisor == 0 ? T(0) : static_cast<T>(sums.loss / divisor);
  const at::Tensor saved = at::empty({1}, accumulated_dtype<T>);
  *saved.template mutable_data_ptr<T>() = divisor == 0 ? T(0) : static_cast<T>(1 / divisor);
  return {loss, saved};
}
template <class Loss, class T>
at::Tensor elements_backward_as(const std::string& name, const at::Tensor& grad_loss,
                                const at::Tensor& saved, const ElementsTensors& tensors,
                                const std::string& reduction) {
  const ElementArguments<T> arguments(name, tensors);
  const T overall =
      *guarded(name, "saved", saved, accumulated_dtype<T>, {1}).template const_data_ptr<T>();
  at::Tensor keep;
  const auto upstream =
      upstream_of<T>(name, grad_loss, reduction == "none", tensors.input.sizes(), overall, keep);
  const at::Tensor gradient = empty_like(tensors.input);
  ElementsCpu<Loss, T>(arguments.input, Loss{}).backward(upstream, sink<T>(gradient));
  return gradient;
}

}  // namespace

template <template <class> class Loss>
PointwiseResult elements_forward(const std::string& name, const ElementsTensors& tensors,
                                 const std::string& reduction) {
  return with_accumulated_type(tensors.input.scalar_type(), [&](auto accumulated) {
    using T = decltype(accumulated);
    return elements_forward_as<Loss<T>, T>(name, tensors, reduction);
  });
}

template <template <class> class Loss>
at::Tensor elements_backward(const std::string& name, const at::Tensor& grad_loss,
                             const at::Tensor& saved, const ElementsTensors& tensors,
                             const std::string& reduction) {
  return with_accumulated_type(tensors.input.scalar_type(), [&](auto accumulated) {
    using T = decltype(accumulated);
    return elements_backward_as<Loss<T>, T>(name, grad_loss, saved, tensors, reduction);
  });
}

#define FASTLOSS_INSTANTIATE(Functor)                                                            \
  template PointwiseResult elements_forward<Functor>(const std::string&, const ElementsTensors&, \
                                                     const std::string&);                        \
  template at::Tensor elements_backward<Functor>(const std::string&, const at::Tensor&,          \
                                                 const at::Tensor&, const ElementsTensors&,      \
                                                 const std::string&);
FASTLOSS_INSTANTIATE(BinaryCrossEntropy)
FASTLOSS_INSTANTIATE(BinaryCrossEntropyWithLogits)
FASTLOSS_INSTANTIATE(HingeLoss)

}  // namespace fastloss
