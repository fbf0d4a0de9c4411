// Engine and functor meet here (see pairwise_torch.h): included by one file a storage type.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "engines/pairwise_arguments.h"
#include "engines/pairwise_cpu.h"
#include "engines/row_factors_torch.h"
#include "losses/registry.h"

namespace fastloss {

// A functor that takes columns as well makes a symmetric loss.
template <class Loss>
concept Symmetric = requires { &Loss::push_columns; };

// One call: the checked arguments, the engine, and the tensors it fills.
template <template <class> class Loss, class S>
class PairwiseCall {
 public:
  using T = typename Stored<S>::Accumulated;
  using Row = typename Loss<T>::Row;
  using Factors = RowFactors<Row, T>;
  static constexpr int64_t kRow = sizeof(Row) / sizeof(T);
  static constexpr bool kSymmetric = Symmetric<Loss<T>>;

  PairwiseCall(const std::string& name, const PairwiseTensors& tensors, const Wanted& wanted)
      : name_(name),
        arguments_(checked(name, tensors, wanted), tensors, Loss<T>::kHasTarget),
        in_(arguments_.input),
        wanted_(wanted),
        divides_(tensors.scale.divides),
        engine_(in_, Loss<T>::make(tensors.options.data(), arguments_.key_weight)) {
    if (kSymmetric && in_.n != in_.m) fail(name, "query and key must have as many rows");
  }

  PairwiseResult forward(const std::string& reduction) {
    PairwiseResult result;
    const int64_t n = in_.n;
    // What ignored rows leave over is defined too: equal calls give equal results.
    result.rows = arguments_.kept.defined() ? at::zeros(rows_shape(), Stored<T>::dtype)
                                            : at::empty(rows_shape(), Stored<T>::dtype);
    Row* const rows = reinterpret_cast<Row*>(result.rows.template data_ptr<T>());
    const Factors factor = factors(reduction == "mean", nullptr);

    make_gradients(result.gradients);
    if constexpr (kSymmetric) {
      if (gradients_.any()) {
        engine_.symmetric_forward_gradient(rows, rows + n, factor, gradients_);
      } else {
        engine_.symmetric_forward(rows, rows + n);
      }
    } else if (!gradients_.any()) {
      engine_.forward(rows);
    } else if constexpr (OnePass<Loss<T>>) {
      engine_.one_pass_forward_gradient(rows, factor, gradients_);
    } else {
      engine_.forward_gradient(rows, factor, gradients_);
    }
    finish_gradients(result.gradients);
    result.loss = reduce(rows, factor, reduction);
    return result;
  }

  PairwiseGradientTensors backward(const at::Tensor& saved, const at::Tensor& grad_loss) {
    const at::Tensor kept = guarded(name_, "rows", saved, Stored<T>::dtype, rows_shape());
    const auto* const rows = reinterpret_cast<const Row*>(kept.template const_data_ptr<T>());
    at::Tensor upstream =
        guarded(name_, "grad_loss", grad_loss, Stored<T>::dtype, {arguments_.all_rows});
    if (arguments_.kept.defined()) upstream = at::index_select(upstream, 0, arguments_.kept);
    const Factors factor = factors(false, upstream.template const_data_ptr<T>());

    PairwiseGradientTensors result;
    make_gradients(result);
    if constexpr (kSymmetric) {
      engine_.symmetric_backward(rows, rows + in_.n, factor, gradients_);
    } else if constexpr (OnePass<Loss<T>>) {
      engine_.one_pass_backward(rows, factor, gradients_);
    } else {
      engine_.backward(rows, factor, gradients_);
    }
    finish_gradients(result);
    return result;
  }

 private:
  static const std::string& checked(const std::string& name, const PairwiseTensors& tensors,
                                    const Wanted& wanted) {
    if (wanted.size() != kWanted) fail(name, "wanted has the wrong number of entries");
    if (wanted[2] && !tensors.negatives) fail(name, "negatives must be given for their gradient");
    if (wanted[3] && !tensors.key_bias) {
      fail(name, std::string(tensors.names.key_bias) + " must be given for its gradient");
    }
    if (tensors.options.size() != Loss<T>::kOptions) fail(name, "wrong number of options");
    return name;
  }

  // Ignored rows have room here too, after the others, so that the shape does not depend on them.
  std::vector<int64_t> rows_shape() const {
    if (kSymmetric) return {2, in_.n, kRow};
    return {arguments_.all_rows, kRow};
  }

  Factors factors(bool mean, const T* upstream) const {
    return {arguments_.weights,        upstream, arguments_.divisors, in_.n, mean,
            kSymmetric ? T(0.5) : T(1)};
  }

  void make_gradients(PairwiseGradientTensors& g) {
    const auto make = [&](bool wants, at::IntArrayRef shape, bool zero) {
      if (!wants) return at::empty({0}, Stored<T>::dtype);
      return zero ? at::zeros(shape, Stored<T>::dtype) : at::empty(shape, Stored<T>::dtype);
    };
    const bool none = in_.n == 0;  // no row: the engine touches nothing
    g = {make(wanted_[0], {arguments_.all_rows, in_.d}, none),
         make(wanted_[1], {in_.m, in_.d}, none),
         make(wanted_[2], {in_.n, in_.h, 2}, none),
         make(wanted_[3], {in_.m}, true),
         make(wanted_[4], {}, true),
         make(wanted_[5], {}, true)};
    if (wanted_[0]) gradients_.query = g[0].template data_ptr<T>();
    if (wanted_[1]) gradients_.key = g[1].template data_ptr<T>();
    if (wanted_[2]) gradients_.own = g[2].template data_ptr<T>();
    if (wanted_[3]) gradients_.key_bias = g[3].template data_ptr<T>();
    if (wanted_[4]) gradients_.scale = &dscale_;
    if (wanted_[5]) gradients_.shift = &dshift_;
  }

  void finish_gradients(const PairwiseGradientTensors& g) const {
    if (wanted_[4]) {
      // s = z / temperature: ∂/∂temperature = −scale² · ∂/∂scale.
      const auto scale = static_cast<double>(in_.scale);
      *g[4].template data_ptr<T>() = static_cast<T>(divides_ ? -dscale_ * scale * scale : dscale_);
    }
    if (wanted_[5]) *g[5].template data_ptr<T>() = static_cast<T>(dshift_);
    if (wanted_[0] && arguments_.kept.defined()) spread(g[0].template data_ptr<T>());
  }

  // The gradients of the kept rows lie at the front: moved to their places, last one first, because
  // no place lies before where its row comes from. Ignored rows get 0.
  void spread(T* rows) const {
    const int64_t* const place = arguments_.kept.template const_data_ptr<int64_t>();
    int64_t from = in_.n - 1;
    for (int64_t row = arguments_.all_rows - 1; row >= 0; --row) {
      T* const out = rows + row * in_.d;
      if (from >= 0 && place[from] == row) {
        const T* const in = rows + from-- * in_.d;
        if (in != out) std::copy_n(in, in_.d, out);
      } else {
        std::fill_n(out, in_.d, T(0));
      }
    }
  }

  at::Tensor reduce(const Row* rows, const Factors& factor, const std::string& reduction) const {
    const auto value = [&](int64_t i) {
      if (factor(i) == T(0)) return T(0);
      T sum = rows[i].value;
      if constexpr (kSymmetric) sum += rows[in_.n + i].value;
      return factor(i) * sum;
    };
    if (reduction == "none") {
      const bool all = !arguments_.kept.defined();
      const at::Tensor loss = all ? at::empty({in_.n}, Stored<T>::dtype)
                                  : at::zeros({arguments_.all_rows}, Stored<T>::dtype);
      const int64_t* const place =
          all ? nullptr : arguments_.kept.template const_data_ptr<int64_t>();
      T* const out = loss.template data_ptr<T>();
      for (int64_t i = 0; i < in_.n; ++i) out[all ? i : place[i]] = value(i);
      return loss;
    }
    double total = 0;
    for (int64_t i = 0; i < in_.n; ++i) total += static_cast<double>(value(i));
    const at::Tensor loss = at::empty({}, Stored<T>::dtype);
    const double divisor = factor.divisor(rows);
    *loss.template data_ptr<T>() = divisor == 0 ? T(0) : static_cast<T>(total / divisor);
    return loss;
  }

  std::string name_;
  Arguments<S> arguments_;
  const PairwiseInput<S, T>& in_;
  Wanted wanted_;
  bool divides_;
  double dscale_ = 0, dshift_ = 0;
  PairwiseGradients<T> gradients_;
  PairwiseCpu<Loss<T>, S> engine_;
};

template <template <class> class Loss, class S>
PairwiseResult pairwise_forward_as(const std::string& name, const PairwiseTensors& tensors,
                                   const std::string& reduction, const Wanted& wanted) {
  return PairwiseCall<Loss, S>(name, tensors, wanted).forward(reduction);
}

template <template <class> class Loss, class S>
PairwiseGradientTensors pairwise_backward_as(const std::string& name,
                                             const PairwiseTensors& tensors, const at::Tensor& rows,
                                             const at::Tensor& grad_loss, const Wanted& wanted) {
  return PairwiseCall<Loss, S>(name, tensors, wanted).backward(rows, grad_loss);
}

#define FASTLOSS_INSTANTIATE_PAIRWISE(S, Functor)                                       \
  template PairwiseResult pairwise_forward_as<Functor, S>(                              \
      const std::string&, const PairwiseTensors&, const std::string&, const Wanted&);   \
  template PairwiseGradientTensors pairwise_backward_as<Functor, S>(                    \
      const std::string&, const PairwiseTensors&, const at::Tensor&, const at::Tensor&, \
      const Wanted&);

}  // namespace fastloss
