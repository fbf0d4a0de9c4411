// Engine and functor meet here (see self_torch.h): included by one file a storage type.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>

#include "engines/held_arguments.h"
#include "engines/row_factors_torch.h"
#include "engines/self_cpu.h"
#include "engines/self_torch.h"
#include "losses/registry.h"

namespace fastloss {

// The tensors as dense arrays of checked shape, kept alive for as long as the engine reads them.
template <class S>
class SelfArguments : HeldArguments<typename Stored<S>::Accumulated> {
 public:
  using T = typename Stored<S>::Accumulated;

  SelfInput<S, T> input{};
  const T* weights = nullptr;       // (n)
  const int32_t* labels = nullptr;  // (n + k): equal where the labels are

  SelfArguments(const std::string& name, const SelfTensors& t, bool paired)
      : HeldArguments<T>(name) {
    if (t.rows.dim() != 2) fail(name, std::string(t.names.rows) + " must have 2 dimensions");
    const int64_t n = input.n = t.rows.size(0), d = input.d = t.rows.size(1);
    if (d == 0) fail(name, std::string(t.names.rows) + " must have at least one feature");
    if (paired && n % 2 != 0) fail(name, "both views must have as many rows");
    input.rows =
        stored_data<S>(this->hold(guarded(name, t.names.rows, t.rows, Stored<S>::dtype, {n, d})));
    if (t.others) {
      if (t.others->dim() != 2) fail(name, std::string(t.names.others) + " must have 2 dimensions");
      input.k = t.others->size(0);
      input.others = stored_data<S>(
          this->hold(guarded(name, t.names.others, *t.others, Stored<S>::dtype, {input.k, d})));
    }
    const int64_t own = paired ? n / 2 : n;
    weights = this->not_negative("weights", this->accumulated("weights", t.weights, own), own);
    if (weights != nullptr && paired) {
      T* const twice = this->hold(at::empty({n}, Stored<T>::dtype)).template data_ptr<T>();
      std::copy_n(weights, own, twice);
      std::copy_n(weights, own, twice + own);
      weights = twice;
    }
    if (t.labels) rank_labels(t);
    input.itself = t.itself;
    input.similarity = similarity_of(name, t.similarity);
    input.scale = this->scale_of("temperature", t.scale);
    input.workspace = t.workspace;
  }

 private:
  // 32 bits, so that as many fit a vector register as scores do.
  void rank_labels(const SelfTensors& t) {
    const int64_t n = input.n, all = n + input.k;
    std::vector<int64_t> label(all), order(all);
    const auto copy = [&](const char* argument, const at::Tensor& tensor, int64_t first,
                          int64_t count) {
      const at::Tensor dense = guarded(this->name_, argument, tensor, at::kLong, {count});
      std::copy_n(dense.template const_data_ptr<int64_t>(), count, label.begin() + first);
    };
    copy(t.names.labels, *t.labels, 0, n);
    if (t.others.has_value() != t.other_labels.has_value()) {
      fail(this->name_, std::string(t.names.others) + " and " + t.names.other_labels +
                            " must be given together");
    }
    if (t.others) copy(t.names.other_labels, *t.other_labels, n, input.k);
    host::sort(label.data(), order.data(), all);
    int32_t* const rank = this->hold(at::empty({all}, at::kInt)).template data_ptr<int32_t>();
    int32_t next = 0;
    for (int64_t i = 0; i < all; ++i) {
      next += i > 0 && label[i] != label[i - 1];
      rank[order[i]] = next;
    }
    labels = rank;
  }
};

// One call: the checked arguments, the engine, and the tensors it fills.
template <template <class> class Loss, class S>
class SelfCall {
 public:
  using T = typename Stored<S>::Accumulated;
  using Row = typename Loss<T>::Row;
  using Factors = RowFactors<Row, T>;
  static constexpr int64_t kRow = sizeof(Row) / sizeof(T);

  SelfCall(const std::string& name, const SelfTensors& tensors, const Wanted& wanted)
      : name_(name),
        arguments_(checked(name, tensors, wanted), tensors, Loss<T>::kPaired),
        in_(arguments_.input),
        wanted_(wanted),
        divides_(tensors.scale.divides),
        engine_(in_, Loss<T>::make(tensors.options.data(), arguments_.labels)) {}

  SelfResult forward(const std::string& reduction) {
    SelfResult result;
    result.rows = at::empty({in_.n, kRow}, Stored<T>::dtype);
    Row* const rows = reinterpret_cast<Row*>(result.rows.template data_ptr<T>());
    const host::Buffer<T> pairs(kIsOfPairs<Loss<T>> ? in_.n : 0);
    for (int64_t i = 0; i < pairs.size(); ++i) {
      pairs[i] = static_cast<T>((in_.itself ? in_.n - 1 - i : 0) + in_.k);
    }
    const Factors factor{arguments_.weights,  nullptr, pairs.data(), in_.n,
                         reduction == "mean", T(1)};
    make_gradients(result.gradients);
    if (gradients_.any()) {
      engine_.forward_gradient(rows, factor, gradients_);
    } else {
      engine_.forward(rows);
    }
    finish_scale(result.gradients);
    result.loss = reduced_rows(rows, factor, reduction);
    return result;
  }

  SelfGradientTensors backward(const at::Tensor& saved, const at::Tensor& grad_loss) {
    const at::Tensor kept = guarded(name_, "rows", saved, Stored<T>::dtype, {in_.n, kRow});
    const auto* const rows = reinterpret_cast<const Row*>(kept.template const_data_ptr<T>());
    const at::Tensor upstream = guarded(name_, "grad_loss", grad_loss, Stored<T>::dtype, {in_.n});
    const Factors factor{
        arguments_.weights, upstream.template const_data_ptr<T>(), nullptr, in_.n, false, T(1)};
    SelfGradientTensors result;
    make_gradients(result);
    engine_.backward(rows, factor, gradients_);
    finish_scale(result);
    return result;
  }

 private:
  static const std::string& checked(const std::string& name, const SelfTensors& tensors,
                                    const Wanted& wanted) {
    if (wanted.size() != 3) fail(name, "wanted must have 3 entries");
    if (wanted[1] && !tensors.others) {
      fail(name, std::string(tensors.names.others) + " must be given for their gradient");
    }
    if (tensors.options.size() != Loss<T>::kOptions) fail(name, "wrong number of options");
    return name;
  }

  void make_gradients(SelfGradientTensors& g) {
    const auto make = [&](bool wants, at::IntArrayRef shape) {
      return wants ? at::empty(shape, Stored<T>::dtype) : at::empty({0}, Stored<T>::dtype);
    };
    g = {make(wanted_[0], {in_.n, in_.d}), make(wanted_[1], {in_.k, in_.d}), make(wanted_[2], {})};
    if (wanted_[0]) gradients_.rows = g[0].template data_ptr<T>();
    if (wanted_[1]) gradients_.others = g[1].template data_ptr<T>();
    if (wanted_[2]) gradients_.scale = &dscale_;
  }

  void finish_scale(const SelfGradientTensors& g) const {
    if (!wanted_[2]) return;
    // s = z / temperature: ∂/∂temperature = −scale² · ∂/∂scale.
    const auto scale = static_cast<double>(in_.scale);
    *g[2].template data_ptr<T>() = static_cast<T>(divides_ ? -dscale_ * scale * scale : dscale_);
  }

  std::string name_;
  SelfArguments<S> arguments_;
  const SelfInput<S, T>& in_;
  Wanted wanted_;
  bool divides_;
  double dscale_ = 0;
  SelfGradients<T> gradients_;
  SelfCpu<Loss<T>, S> engine_;
};

template <template <class> class Loss, class S>
SelfResult self_forward_as(const std::string& name, const SelfTensors& tensors,
                           const std::string& reduction, const Wanted& wanted) {
  return SelfCall<Loss, S>(name, tensors, wanted).forward(reduction);
}

template <template <class> class Loss, class S>
SelfGradientTensors self_backward_as(const std::string& name, const SelfTensors& tensors,
                                     const at::Tensor& rows, const at::Tensor& grad_loss,
                                     const Wanted& wanted) {
  return SelfCall<Loss, S>(name, tensors, wanted).backward(rows, grad_loss);
}

#define FASTLOSS_INSTANTIATE_SELF(S, Functor)                                                      \
  template SelfResult self_forward_as<Functor, S>(const std::string&, const SelfTensors&,          \
                                                  const std::string&, const Wanted&);              \
  template SelfGradientTensors self_backward_as<Functor, S>(const std::string&,                    \
                                                            const SelfTensors&, const at::Tensor&, \
                                                            const at::Tensor&, const Wanted&);

}  // namespace fastloss
