// Tensors to the pairwise engine on the device, and back (engines/pairwise_torch.h).
#include "engines/pairwise_torch.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/masked_fill.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>

#include "cuda/arguments_torch.h"
#include "cuda/engine_torch.h"
#include "cuda/pairwise_run.h"
#include "losses/registry.h"

namespace fastloss::device {

namespace {

// The tensors as the engine's input (engines/pairwise_arguments.h on the CPU).
template <class S>
class DeviceArguments : public HeldOnDevice<typename Stored<S>::Accumulated> {
 public:
  using T = typename Stored<S>::Accumulated;
  using Held = HeldOnDevice<T>;
  using Held::accumulated;
  using Held::guarded;
  using Held::hold;
  using Held::room;

  PairwiseOnDevice<S, T> input{};
  const T* key_weight = nullptr;
  const T* option = nullptr;

  DeviceArguments(const std::string& name, const PairwiseTensors& t, bool with_target,
                  const at::Tensor* upstream, T half)
      : Held(name, t.query) {
    if (t.query.dim() != 2 || t.key.dim() != 2) {
      fail(name, std::string(t.names.query) + " and " + t.names.key + " must have 2 dimensions");
    }
    const int64_t n = input.n = t.query.size(0), d = input.d = t.query.size(1);
    const int64_t m = input.m = t.key.size(0);
    if (d == 0) {
      fail(name, std::string(t.names.query) + " must have at least one feature, got shape " +
                     show(t.query.sizes()));
    }
    at::Tensor query = guarded(t.names.query, t.query, Stored<S>::dtype, {n, d});
    input.key = stored_data<S>(hold(guarded(t.names.key, t.key, Stored<S>::dtype, {m, d})));
    if (t.negatives) {
      if (t.negatives->dim() != 3) fail(name, "negatives must have 3 dimensions");
      input.h = t.negatives->size(1);
      input.negatives = stored_data<S>(
          hold(guarded("negatives", *t.negatives, Stored<S>::dtype, {n, input.h, d})));
    }
    input.key_bias = accumulated(t.names.key_bias, t.key_bias, m);
    if (const T* const weight = accumulated(t.names.key_weight, t.key_weight, m)) {
      T* const out = room(padded(m));
      prepare_weights<T>(this->runtime_, weight, m, out);
      key_weight = out;
    }
    if (t.key_ids) {
      const at::Tensor& ids = hold(guarded("key_ids", *t.key_ids, at::kLong, {m}));
      input.key_ids = ids.template const_data_ptr<int64_t>();
    }
    rows(t, with_target, upstream, half);
    // The row of an ignored target is nothing, whatever it holds.
    if (t.ignored_target) {
      query = query.masked_fill(t.target->eq(*t.ignored_target).unsqueeze(1), 0);
    }
    input.query = stored_data<S>(hold(query));
    input.scale = this->scale_of(t.names.scale, t.scale);
    input.scale_divides = t.scale.divides;
    if (t.option) {
      const at::Tensor& held = this->number("logit_bias", *t.option);
      if (on_device(held)) {
        T* const out = room(1);
        prepare_number<T>(this->runtime_, held.const_data_ptr(), stored_type(held.scalar_type()),
                          out);
        option = out;
      }
    }
    input.similarity = similarity_of(name, t.similarity);
    input.margin = static_cast<T>(t.margin);
    input.workspace = t.workspace;
    input.tiles = takes_tiles<S>(name, t.query);
  }

 private:
  // Targets, factors of rows, and what a mean divides by.
  void rows(const PairwiseTensors& t, bool with_target, const at::Tensor* upstream, T half) {
    const int64_t n = input.n, m = input.m;
    if (with_target && !t.target && n > m) {
      fail(this->name_, std::string(t.names.key) + " must have at least as many rows as " +
                            t.names.query + " when no target is given, got " + std::to_string(m) +
                            " keys for " + std::to_string(n) + " queries");
    }
    RowArguments<T> rows{.n = n, .m = m, .has_target = with_target, .half = half};
    if (with_target && t.target) {
      const at::Tensor& target = hold(guarded("target", *t.target, at::kLong, {n}));
      rows.target = target.template const_data_ptr<int64_t>();
    }
    rows.may_lack = t.target_may_lack;
    rows.ignores = t.ignored_target.has_value();
    rows.ignored = t.ignored_target.value_or(0);
    rows.weights = accumulated("weights", t.weights, n);
    rows.divisors = key_weight;
    if (upstream != nullptr) {
      rows.upstream = stored_data<T>(hold(guarded("grad_loss", *upstream, Stored<T>::dtype, {n})));
    }
    if (t.mean_of_pairs) rows.pairs = pairs(t);
    int64_t* const target = this->template room<int64_t>(n);
    T* const factor = room(n);
    T* const counted = room(n);
    prepare_rows<T>(this->runtime_, rows, target, factor, counted);
    input.target = target;
    input.factor = factor;
    input.counted = counted;
    input.plain_factors = rows.weights == nullptr && rows.upstream == nullptr;
  }

  // (n): keys that neither are row i's target, key i, nor have its id.
  const int64_t* pairs(const PairwiseTensors& t) {
    const int64_t n = input.n, m = input.m;
    at::Tensor left = at::full({n}, m - 1, this->first_.options().dtype(at::kLong));
    if (t.key_ids) {
      const at::Tensor ids = t.key_ids->contiguous();
      const at::Tensor sorted = std::get<0>(at::sort(ids)), own = ids.narrow(0, 0, n);
      const at::Tensor above = at::searchsorted(sorted, own, false, true);
      left = at::searchsorted(sorted, own).sub(above).add(m);
    }
    return hold(left.contiguous()).template const_data_ptr<int64_t>();
  }
};

// One call: the arguments, the engine, and the tensors it fills.
template <template <class> class Loss, class S>
class Call {
 public:
  using T = typename Stored<S>::Accumulated;
  using Row = typename Loss<T>::Row;
  static constexpr int64_t kRow = sizeof(Row) / sizeof(T);
  static constexpr bool kOfColumns = requires { &Loss<T>::push_columns; };

  Call(const std::string& name, const PairwiseTensors& tensors, const Wanted& wanted,
       const at::Tensor* upstream)
      : name_(checked(name, tensors, wanted)),
        arguments_(name, tensors, Loss<T>::kHasTarget, upstream, kOfColumns ? T(0.5) : T(1)),
        in_(arguments_.input),
        wanted_(wanted),
        loss_{Loss<T>::make(tensors.options.data(), arguments_.key_weight), arguments_.option} {
    if (kOfColumns && in_.n != in_.m) fail(name, "query and key must have as many rows");
  }

  PairwiseResult forward(const std::string& reduction) {
    PairwiseResult result;
    result.rows = arguments_.empty(rows_shape());
    make_gradients(result.gradients);
    const bool each = reduction == "none";
    result.loss = each ? arguments_.empty({in_.n}) : arguments_.empty({});
    T* const loss = result.loss.template mutable_data_ptr<T>();
    out_.mean = reduction == "mean";
    out_.loss = each ? nullptr : loss;
    run_forward<Loss, S, T>(arguments_.runtime(), in_, loss_,
                            static_cast<Row*>(result.rows.mutable_data_ptr()), out_,
                            each ? loss : nullptr);
    return result;
  }

  PairwiseGradientTensors backward(const at::Tensor& saved) {
    const at::Tensor rows = arguments_.guarded("rows", saved, Stored<T>::dtype, rows_shape());
    PairwiseGradientTensors result;
    make_gradients(result);
    run_backward<Loss, S, T>(arguments_.runtime(), in_, loss_,
                             static_cast<const Row*>(rows.const_data_ptr()), out_);
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

  std::vector<int64_t> rows_shape() const {
    if (kOfColumns) return {2, in_.n, kRow};
    return {in_.n, kRow};
  }

  void make_gradients(PairwiseGradientTensors& g) {
    const auto make = [&](bool wants, at::IntArrayRef shape) {
      return arguments_.empty(wants ? shape : at::IntArrayRef{0});
    };
    g = {make(wanted_[0], {in_.n, in_.d}),
         make(wanted_[1], {in_.m, in_.d}),
         make(wanted_[2], {in_.n, in_.h, 2}),
         make(wanted_[3], {in_.m}),
         make(wanted_[4], {}),
         make(wanted_[5], {})};
    const auto place = [&](size_t i) {
      return wanted_[i] ? g[i].template mutable_data_ptr<T>() : nullptr;
    };
    out_.gradients = {.query = place(0),
                      .key = place(1),
                      .key_bias = place(3),
                      .scale = place(4),
                      .shift = place(5),
                      .own = place(2)};
  }

  std::string name_;
  DeviceArguments<S> arguments_;
  const PairwiseOnDevice<S, T>& in_;
  Wanted wanted_;
  DeviceLoss<Loss<T>> loss_;
  PairwiseResultOnDevice<T> out_{};
};

}  // namespace

template <template <class> class Loss>
PairwiseResult pairwise_forward(const std::string& name, const PairwiseTensors& tensors,
                                const std::string& reduction, const Wanted& wanted) {
  return with_stored_type(tensors.query.scalar_type(), [&](auto stored) {
    return Call<Loss, decltype(stored)>(name, tensors, wanted, nullptr).forward(reduction);
  });
}

template <template <class> class Loss>
PairwiseGradientTensors pairwise_backward(const std::string& name, const PairwiseTensors& tensors,
                                          const at::Tensor& rows, const at::Tensor& grad_loss,
                                          const Wanted& wanted) {
  return with_stored_type(tensors.query.scalar_type(), [&](auto stored) {
    return Call<Loss, decltype(stored)>(name, tensors, wanted, &grad_loss).backward(rows);
  });
}

#define FASTLOSS_INSTANTIATE(stem, Functor)                                                     \
  template PairwiseResult pairwise_forward<Functor>(const std::string&, const PairwiseTensors&, \
                                                    const std::string&, const Wanted&);         \
  template PairwiseGradientTensors pairwise_backward<Functor>(                                  \
      const std::string&, const PairwiseTensors&, const at::Tensor&, const at::Tensor&,         \
      const Wanted&);
FASTLOSS_PAIRWISE_LOSSES(FASTLOSS_INSTANTIATE)

at::Tensor pairwise_negatives_gradient(const at::Tensor& query, const at::Tensor& negatives,
                                       const at::Tensor& own, const at::Tensor& scale) {
  const int64_t n = query.size(0), d = query.size(1), h = negatives.size(1);
  const std::string name = "negatives_gradient";
  const at::Tensor result = at::empty({n, h, d}, query.options());
  with_stored_type(query.scalar_type(), [&](auto stored) {
    using S = decltype(stored);
    using T = typename Stored<S>::Accumulated;
    TorchRuntime runtime(query);
    const at::Tensor q = guarded_beside(query, name, "query", query, Stored<S>::dtype, {n, d});
    const at::Tensor k =
        guarded_beside(query, name, "negatives", negatives, Stored<S>::dtype, {n, h, d});
    const at::Tensor c = guarded_beside(query, name, "own", own, Stored<T>::dtype, {n, h, 2});
    const at::Tensor s = guarded_beside(query, name, "scale", scale, Stored<T>::dtype, {});
    negatives_gradient<S, T>(runtime, n, h, d, stored_data<S>(q), stored_data<S>(k),
                             stored_data<T>(c), stored_data<T>(s),
                             static_cast<S*>(result.mutable_data_ptr()));
    return 0;
  });
  return result;
}

at::Tensor scaled_gradient(const at::Tensor& gradient, const at::Tensor& scale,
                           at::ScalarType dtype) {
  const std::string name = "scaled_gradient";
  if (dtype != at::kBFloat16 && dtype != at::kHalf) fail(name, "dtype must be a 16-bit one");
  const at::Tensor in =
      guarded_beside(gradient, name, "gradient", gradient, at::kFloat, gradient.sizes());
  const at::Tensor s = guarded_beside(gradient, name, "scale", scale, at::kFloat, {});
  const at::Tensor result = at::empty(gradient.sizes(), gradient.options().dtype(dtype));
  TorchRuntime runtime(gradient);
  with_stored_type(dtype, [&](auto stored) {
    using S = decltype(stored);
    if constexpr (sizeof(S) == 2) {
      scaled_gradient<S>(runtime, stored_data<float>(in), in.numel(), stored_data<float>(s),
                         static_cast<S*>(result.mutable_data_ptr()));
    }
    return 0;
  });
  return result;
}

}  // namespace fastloss::device
