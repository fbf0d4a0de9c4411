// Tensors to the pointwise engine and back (see pointwise_torch.h).
#include "engines/pointwise_torch.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "engines/pointwise_cpu.h"
#include "engines/values_torch.h"
#include "losses/binary_cross_entropy.h"
#include "losses/binary_cross_entropy_with_logits.h"
#include "losses/cross_entropy.h"
#include "losses/hinge_loss.h"
#include "losses/kl_div_with_logits.h"

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

template <class Takes, class T>
void check_values(const std::string& name, const char* argument, const char* rule,
                  const Source<T>& values, int64_t count, const Takes& takes) {
  for (int64_t i = 0; rule != nullptr && i < count; ++i) {
    if (const T value = values[i]; !takes(value)) {
      fail(name, std::string(argument) + " " + rule + ", got " + std::to_string(value) + " at " +
                     std::to_string(i));
    }
  }
}

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

template <class T>
Upstream<T> upstream_of(const std::string& name, const at::Tensor& grad_loss, bool none,
                        at::IntArrayRef shape, T overall, at::Tensor& keep) {
  keep =
      guarded(name, "grad_loss", grad_loss, accumulated_dtype<T>, none ? shape : at::IntArrayRef{});
  const T* const data = keep.template const_data_ptr<T>();
  return none ? Upstream<T>{data, T(1)} : Upstream<T>{nullptr, *data * overall};
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

namespace {

// One call of a loss of rows: checked arguments and the layout of its rows.
template <class T>
class RowCall {
 public:
  RowsInput<T> input{};
  std::vector<int64_t> row_shape;  // of the losses

  RowCall(const std::string& name, const at::Tensor& logits, const at::Tensor& target,
          std::optional<int64_t> ignored)
      : name_(name), logits_(dense(name, "input", logits)) {
    const int64_t dims = logits.dim();
    if (dims == 0) fail(name, "input must have at least 1 dimension");
    const int64_t class_dim = dims == 1 ? 0 : 1;
    row_shape = logits.sizes().vec();
    row_shape.erase(row_shape.begin() + class_dim);
    input.classes = logits.size(class_dim);
    input.outer = dims == 1 ? 1 : logits.size(0);
    input.inner = 1;
    for (int64_t i = 2; i < dims; ++i) input.inner *= logits.size(i);
    input.input = source<T>(logits_);
    if (target.is_floating_point()) {
      if (target.sizes() != logits.sizes()) {
        fail(name,
             "target must have shape " + show(logits.sizes()) + ", got " + show(target.sizes()));
      }
      target_ = dense(name, "target", target);
      input.target = source<T>(target_);
    } else {
      target_ = guarded(name, "target", target, at::kLong, row_shape);
      input.target_class = target_.template const_data_ptr<int64_t>();
      input.ignores = ignored.has_value();
      input.ignored = ignored.value_or(0);
      check_classes();
    }
  }

  // Class weights, (classes), or null.
  const T* class_weights(const std::optional<at::Tensor>& weight) {
    if (!weight) return nullptr;
    weight_ = guarded(name_, "weight", weight->to(accumulated_dtype<T>), accumulated_dtype<T>,
                      {input.classes});
    const T* const values = weight_.template const_data_ptr<T>();
    for (int64_t c = 0; c < input.classes; ++c) {
      if (values[c] < T(0)) {
        fail(name_, "weight must not be negative, got " + std::to_string(values[c]) + " at " +
                        std::to_string(c));
      }
    }
    return values;
  }

  // `weight_of(row)` is a row's share in the divisor of a mean.
  template <class Loss, class WeightOf>
  PointwiseResult forward(const Loss& loss, const char* target_rule, bool mean, bool none,
                          const WeightOf& weight_of) const {
    using Row = typename Loss::Row;
    const int64_t n = input.rows();
    const at::Tensor saved = at::empty({Row::kFields, n}, accumulated_dtype<T>);
    T* const rows = saved.template mutable_data_ptr<T>();
    const bool inside = RowsCpu<Loss, T>(input, loss).forward(rows);
    if constexpr (!Loss::kTargetIsClass) {
      if (!inside) {
        check_values(name_, "target", target_rule, input.target, n * input.classes,
                     [&](T t) { return loss.takes_target(t); });
      }
    }
    if (none) {
      const at::Tensor each = at::empty(row_shape, accumulated_dtype<T>);
      std::copy_n(rows, n, each.template mutable_data_ptr<T>());  // Row's first number
      return {each, saved};
    }
    const double total =
        sum_of_rows([=](int64_t i) FASTLOSS_SIMD_LOOP { return static_cast<double>(rows[i]); });
    const at::Tensor sum = at::empty({}, accumulated_dtype<T>);
    const double divisor = mean ? divisor_of<Row>(rows, weight_of) : 1;
    *sum.template mutable_data_ptr<T>() = divisor == 0 ? T(0) : static_cast<T>(total / divisor);
    return {sum, saved};
  }

  template <class Loss, class WeightOf>
  at::Tensor backward(const at::Tensor& grad_loss, const at::Tensor& saved, const Loss& loss,
                      bool mean, bool none, const WeightOf& weight_of) const {
    using Row = typename Loss::Row;
    const at::Tensor kept =
        guarded(name_, "saved", saved, accumulated_dtype<T>, {Row::kFields, input.rows()});
    const T* const rows = kept.template const_data_ptr<T>();
    const double divisor = mean ? divisor_of<Row>(rows, weight_of) : 1;
    const T overall = divisor == 0 ? T(0) : static_cast<T>(1 / divisor);
    at::Tensor keep;
    const auto upstream = upstream_of<T>(name_, grad_loss, none, row_shape, overall, keep);
    const at::Tensor gradient = empty_like(logits_);
    RowsCpu<Loss, T>(input, loss).backward(rows, upstream, sink<T>(gradient));
    return gradient;
  }

 private:
  // Σ term(row), task by task.
  template <class Term>
  double sum_of_rows(const Term& term) const {
    constexpr int64_t kTask = 1 << 14;
    const int64_t n = input.rows(), tasks = (n + kTask - 1) / kTask;
    const host::Buffer<double> sums(tasks);
    host::for_each_task(tasks, [&](int64_t task, int64_t) {
      simd::dispatch([&, task]() FASTLOSS_SIMD_LOOP {
        const int64_t last = std::min(n, (task + 1) * kTask);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = task * kTask; i < last; ++i) sum += term(i);
        sums[task] = sum;
      });
    });
    return std::accumulate(sums.data(), sums.data() + tasks, 0.0);
  }

  template <class Row, class WeightOf>
  double divisor_of(const T* rows, const WeightOf& weight_of) const {
    const int64_t n = input.rows();
    return sum_of_rows([=, &weight_of](int64_t i) FASTLOSS_SIMD_LOOP {
      return Row::load(rows + i, n).counts() ? static_cast<double>(weight_of(i)) : 0.0;
    });
  }

  void check_classes() const {
    const auto allowed = [in = input](int64_t value) FASTLOSS_SIMD_LOOP {
      return ((value >= 0) & (value < in.classes)) | (in.ignores & (value == in.ignored));
    };
    const int64_t* const target = input.target_class;
    const auto outside = [=](int64_t i)
                             FASTLOSS_SIMD_LOOP { return allowed(target[i]) ? 0.0 : 1.0; };
    if (sum_of_rows(outside) == 0) return;
    for (int64_t i = 0; i < input.rows(); ++i) {
      if (allowed(target[i])) continue;
      fail(name_, "target must be in [0, " + std::to_string(input.classes) + ")" +
                      (input.ignores ? " or ignore_index, " + std::to_string(input.ignored)
                                     : std::string()) +
                      ", got " + std::to_string(target[i]) + " at " + std::to_string(i));
    }
  }

  std::string name_;
  at::Tensor logits_, target_, weight_;
};

constexpr const char* kProbabilities = "must be probabilities in [0, 1]";

// Calls work(call, functor, weight_of).
template <class Work>
auto cross_entropy_call(const at::Tensor& input, const at::Tensor& target,
                        const std::optional<at::Tensor>& weight,
                        std::optional<int64_t> ignore_index, double label_smoothing,
                        const Work& work) {
  return with_accumulated_type(input.scalar_type(), [&](auto accumulated) {
    using T = decltype(accumulated);
    RowCall<T> call("cross_entropy", input, target, ignore_index);
    const T* const weights = call.class_weights(weight);
    const T smoothing = static_cast<T>(label_smoothing);
    if (target.is_floating_point()) {
      return work(call, SoftCrossEntropy<T>{smoothing, weights},
                  [](int64_t) FASTLOSS_SIMD_LOOP { return 1.0; });
    }
    const int64_t* const classes = call.input.target_class;
    return work(call, CrossEntropy<T>{smoothing, weights}, [=](int64_t row) FASTLOSS_SIMD_LOOP {
      return weights != nullptr ? static_cast<double>(weights[classes[row]]) : 1.0;
    });
  });
}

template <class Work>
auto kl_div_call(const at::Tensor& input, const at::Tensor& target, const std::string& direction,
                 bool log_target, const Work& work) {
  const std::string name = "kl_div_with_logits";
  if (!target.is_floating_point()) fail(name, "target must be floating");
  if (input.dim() > 2) fail(name, "input must have 1 or 2 dimensions");
  return with_accumulated_type(input.scalar_type(), [&](auto accumulated) {
    using T = decltype(accumulated);
    const RowCall<T> call(name, input, target, std::nullopt);
    if (direction == "forward") return work(call, KlDivForward<T>{{log_target}});
    if (direction == "reverse") return work(call, KlDivReverse<T>{{log_target}});
    fail(name, "direction must be \"forward\" or \"reverse\", got \"" + direction + "\"");
  });
}

constexpr auto one = [](int64_t) FASTLOSS_SIMD_LOOP { return 1.0; };

}  // namespace

PointwiseResult cross_entropy_forward(const at::Tensor& input, const at::Tensor& target,
                                      const std::optional<at::Tensor>& weight,
                                      std::optional<int64_t> ignore_index, double label_smoothing,
                                      const std::string& reduction) {
  return cross_entropy_call(input, target, weight, ignore_index, label_smoothing,
                            [&](const auto& call, const auto& loss, const auto& weight_of) {
                              return call.forward(loss, kProbabilities, reduction == "mean",
                                                  reduction == "none", weight_of);
                            });
}

at::Tensor cross_entropy_backward(const at::Tensor& grad_loss, const at::Tensor& saved,
                                  const at::Tensor& input, const at::Tensor& target,
                                  const std::optional<at::Tensor>& weight,
                                  std::optional<int64_t> ignore_index, double label_smoothing,
                                  const std::string& reduction) {
  return cross_entropy_call(input, target, weight, ignore_index, label_smoothing,
                            [&](const auto& call, const auto& loss, const auto& weight_of) {
                              return call.backward(grad_loss, saved, loss, reduction == "mean",
                                                   reduction == "none", weight_of);
                            });
}

PointwiseResult kl_div_with_logits_forward(const at::Tensor& input, const at::Tensor& target,
                                           const std::string& direction, bool log_target,
                                           const std::string& reduction) {
  const char* const rule =
      log_target ? "must be logarithms of probabilities, at most 0" : kProbabilities;
  return kl_div_call(input, target, direction, log_target, [&](const auto& call, const auto& loss) {
    return call.forward(loss, rule, reduction != "sum", reduction == "none", one);
  });
}

at::Tensor kl_div_with_logits_backward(const at::Tensor& grad_loss, const at::Tensor& saved,
                                       const at::Tensor& input, const at::Tensor& target,
                                       const std::string& direction, bool log_target,
                                       const std::string& reduction) {
  return kl_div_call(input, target, direction, log_target, [&](const auto& call, const auto& loss) {
    const bool none = reduction == "none";
    return call.backward(grad_loss, saved, loss, reduction != "sum" && !none, none, one);
  });
}

}  // namespace fastloss
