// See pairwise_torch.h. Engine and functor meet here: one instantiation a registered loss and type.
#include "engines/pairwise_torch.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <stdexcept>

#include "engines/pairwise_cpu.h"
#include "losses/registry.h"

namespace fastloss {

namespace {

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw std::invalid_argument(name + ": " + what);
}

std::string show(at::IntArrayRef shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

// A dense CPU tensor of this type and shape, or an error that names the argument.
at::Tensor guarded(const std::string& name, const char* argument, const at::Tensor& tensor,
                   at::ScalarType dtype, at::IntArrayRef shape) {
  if (!tensor.device().is_cpu()) fail(name, std::string(argument) + " must be on the CPU");
  if (tensor.scalar_type() != dtype) {
    fail(name, std::string(argument) + " must be " + c10::toString(dtype) + ", got " +
                   c10::toString(tensor.scalar_type()));
  }
  if (tensor.sizes() != shape) {
    fail(name, std::string(argument) + " must have shape " + show(shape) + ", got " +
                   show(tensor.sizes()));
  }
  return tensor.contiguous();
}

Similarity similarity_of(const std::string& name, const std::string& similarity) {
  if (similarity == "dot") return Similarity::kDot;
  if (similarity == "cosine") return Similarity::kCosine;
  if (similarity == "euclidean") return Similarity::kEuclidean;
  if (similarity == "sqeuclidean") return Similarity::kSquaredEuclidean;
  fail(name, "similarity must be \"dot\", \"cosine\", \"euclidean\" or \"sqeuclidean\", got \"" +
                 similarity + "\"");
}

// The tensors as dense arrays of checked shape, kept alive for as long as the engine reads them.
template <class S, class T>
struct Arguments {
  std::vector<at::Tensor> keep;
  PairwiseInput<S, T> input{};
  const T* weights = nullptr;

  const at::Tensor& hold(at::Tensor tensor) {
    keep.push_back(std::move(tensor));
    return keep.back();
  }

  Arguments(const std::string& name, const PairwiseTensors& t) {
    constexpr auto stored = c10::CppTypeToScalarType<S>::value;
    if (t.query.dim() != 2 || t.key.dim() != 2) fail(name, "query and key must have 2 dimensions");
    const int64_t n = t.query.size(0), d = t.query.size(1), m = t.key.size(0);
    input.n = n;
    input.m = m;
    input.d = d;
    if (d == 0)
      fail(name, "query must have at least one feature, got shape " + show(t.query.sizes()));
    input.query = hold(guarded(name, "query", t.query, stored, {n, d})).template data_ptr<S>();
    input.key = hold(guarded(name, "key", t.key, stored, {m, d})).template data_ptr<S>();
    if (t.negatives) {
      if (t.negatives->dim() != 3) fail(name, "negatives must have 3 dimensions");
      input.h = t.negatives->size(1);
      input.negatives = hold(guarded(name, "negatives", *t.negatives, stored, {n, input.h, d}))
                            .template data_ptr<S>();
    }
    input.key_bias = accumulated(name, "key_bias", t.key_bias, m);
    weights = accumulated(name, "weights", t.weights, n);
    for (int64_t i = 0; weights != nullptr && i < n; ++i) {
      if (weights[i] < T(0)) {
        fail(name, "weights must not be negative, got " + std::to_string(weights[i]) + " at " +
                       std::to_string(i));
      }
    }
    targets(name, t.target);
    if (t.key_ids) groups(guarded(name, "key_ids", *t.key_ids, at::kLong, {m}));
    double temperature = t.temperature;
    if (t.temperature_tensor) {
      if (t.temperature_tensor->numel() != 1) fail(name, "temperature must be a single number");
      temperature = t.temperature_tensor->item<double>();
    }
    if (!(temperature > 0) || std::isinf(temperature)) {
      fail(name, "temperature must be positive and finite, got " + std::to_string(temperature));
    }
    input.similarity = similarity_of(name, t.similarity);
    input.scale = static_cast<T>(1 / temperature);
    input.margin = static_cast<T>(t.margin);
    input.workspace = t.workspace;
  }

  const T* accumulated(const std::string& name, const char* argument,
                       const std::optional<at::Tensor>& tensor, int64_t count) {
    if (!tensor) return nullptr;
    const at::Tensor wide = tensor->to(c10::CppTypeToScalarType<T>::value);
    return hold(guarded(name, argument, wide, c10::CppTypeToScalarType<T>::value, {count}))
        .template data_ptr<T>();
  }

  void targets(const std::string& name, const std::optional<at::Tensor>& target) {
    if (!target && input.n > input.m) {
      fail(name, "key must have at least as many rows as query when no target is given, got " +
                     std::to_string(input.m) + " keys for " + std::to_string(input.n) + " queries");
    }
    if (!target) {
      int64_t* const own = hold(at::empty({input.n}, at::kLong)).template data_ptr<int64_t>();
      for (int64_t i = 0; i < input.n; ++i) own[i] = i;
      input.target = own;
      return;
    }
    input.target =
        hold(guarded(name, "target", *target, at::kLong, {input.n})).template data_ptr<int64_t>();
    for (int64_t i = 0; i < input.n; ++i) {
      if (input.target[i] < 0 || input.target[i] >= input.m) {
        fail(name, "target must be in [0, " + std::to_string(input.m) + "), got " +
                       std::to_string(input.target[i]) + " at " + std::to_string(i));
      }
    }
  }

  // Columns sorted by id; the sort is stable, so that a group's columns ascend.
  void groups(const at::Tensor& ids) {
    const auto [sorted, order] = at::sort(ids, true, 0, false);
    const int64_t* const value = hold(sorted).template data_ptr<int64_t>();
    input.groups.order = hold(order).template data_ptr<int64_t>();
    int64_t* const begin = hold(at::empty({input.m}, at::kLong)).template data_ptr<int64_t>();
    int64_t* const end = hold(at::empty({input.m}, at::kLong)).template data_ptr<int64_t>();
    for (int64_t first = 0, last = 0; first < input.m; first = last) {
      while (last < input.m && value[last] == value[first]) ++last;
      for (int64_t k = first; k < last; ++k) {
        begin[input.groups.order[k]] = first;
        end[input.groups.order[k]] = last;
      }
    }
    input.groups.begin = begin;
    input.groups.end = end;
  }
};

template <class T>
PairwiseGradientTensors empty_gradients(const Wanted& wanted, int64_t n, int64_t m, int64_t d,
                                        int64_t h, PairwiseGradients<T>& pointers, double& scale) {
  const auto options = at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
  const auto make = [&](bool wants, at::IntArrayRef shape, bool zero) {
    if (!wants) return at::empty({0}, options);
    return zero ? at::zeros(shape, options) : at::empty(shape, options);
  };
  const bool none = n == 0;  // no row: the engine touches nothing
  PairwiseGradientTensors g = {make(wanted[0], {n, d}, none), make(wanted[1], {m, d}, none),
                               make(wanted[2], {n, h, 2}, none), make(wanted[3], {m}, true),
                               make(wanted[4], {}, true)};
  if (wanted[0]) pointers.query = g[0].template data_ptr<T>();
  if (wanted[1]) pointers.key = g[1].template data_ptr<T>();
  if (wanted[2]) pointers.own = g[2].template data_ptr<T>();
  if (wanted[3]) pointers.key_bias = g[3].template data_ptr<T>();
  if (wanted[4]) pointers.scale = &scale;
  return g;
}

// s = z / temperature: ∂/∂temperature = −scale² · ∂/∂scale.
template <class T>
void set_temperature_gradient(const PairwiseGradientTensors& g, double dscale, T scale) {
  *g[4].template data_ptr<T>() =
      static_cast<T>(-dscale * static_cast<double>(scale) * static_cast<double>(scale));
}

// What a row's loss and gradient are multiplied by; for "mean" all are divided by the weight of the
// rows that count.
template <class Row, class T>
struct RowWeights {
  const T* weights;
  int64_t n;
  bool mean;

  FASTLOSS_HOST_DEVICE T operator()(int64_t i) const { return weights ? weights[i] : T(1); }
  double divisor(const Row* rows) const {
    double sum = 0;
    for (int64_t i = 0; mean && i < n; ++i) {
      if (rows[i].counts()) sum += static_cast<double>((*this)(i));
    }
    return sum == 0 ? 1 : sum;
  }
  T overall(const Row* rows) const { return static_cast<T>(1 / divisor(rows)); }
};

// Upstream gradients of the rows of a "none" loss.
template <class Row, class T>
struct RowGradients {
  RowWeights<Row, T> weights;
  const T* upstream;

  FASTLOSS_HOST_DEVICE T operator()(int64_t i) const { return weights(i) * upstream[i]; }
  T overall(const Row*) const { return T(1); }
};

template <template <class> class Loss, class S, class T>
PairwiseResult forward_as(const std::string& name, const PairwiseTensors& tensors,
                          const std::string& reduction, const Wanted& wanted) {
  using Row = typename Loss<T>::Row;
  constexpr int64_t kRow = sizeof(Row) / sizeof(T);
  const Arguments<S, T> arguments(name, tensors);
  const auto& in = arguments.input;
  const auto options = at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
  PairwiseResult result;
  result.rows = at::empty({in.n, kRow}, options);
  Row* const rows = reinterpret_cast<Row*>(result.rows.template data_ptr<T>());
  const RowWeights<Row, T> weight{arguments.weights, in.n, reduction == "mean"};

  PairwiseGradients<T> gradients;
  double dscale = 0;
  result.gradients = empty_gradients(wanted, in.n, in.m, in.d, in.h, gradients, dscale);
  PairwiseCpu<Loss<T>, S> engine(in, Loss<T>::make(tensors.options.data()));
  if (gradients.any()) {
    engine.forward_gradient(rows, weight, gradients);
    if (wanted[4]) set_temperature_gradient(result.gradients, dscale, in.scale);
  } else {
    engine.forward(rows);
  }

  const auto value = [&](int64_t i) {
    return weight(i) == T(0) ? T(0) : weight(i) * rows[i].value;
  };
  if (reduction == "none") {
    result.loss = at::empty({in.n}, options);
    for (int64_t i = 0; i < in.n; ++i) result.loss.template data_ptr<T>()[i] = value(i);
    return result;
  }
  double total = 0;
  for (int64_t i = 0; i < in.n; ++i) total += static_cast<double>(value(i));
  result.loss = at::empty({}, options);
  *result.loss.template data_ptr<T>() = static_cast<T>(total / weight.divisor(rows));
  return result;
}

template <template <class> class Loss, class S, class T>
PairwiseGradientTensors backward_as(const std::string& name, const PairwiseTensors& tensors,
                                    const at::Tensor& rows, const at::Tensor& grad_loss,
                                    const Wanted& wanted) {
  using Row = typename Loss<T>::Row;
  constexpr int64_t kRow = sizeof(Row) / sizeof(T);
  constexpr auto wide = c10::CppTypeToScalarType<T>::value;
  const Arguments<S, T> arguments(name, tensors);
  const auto& in = arguments.input;
  const at::Tensor saved = guarded(name, "rows", rows, wide, {in.n, kRow});
  const at::Tensor upstream = guarded(name, "grad_loss", grad_loss, wide, {in.n});
  const RowGradients<Row, T> row_grad{{arguments.weights, in.n, false},
                                      upstream.template data_ptr<T>()};
  PairwiseGradients<T> gradients;
  double dscale = 0;
  const auto result = empty_gradients(wanted, in.n, in.m, in.d, in.h, gradients, dscale);
  PairwiseCpu<Loss<T>, S> engine(in, Loss<T>::make(tensors.options.data()));
  engine.backward(reinterpret_cast<const Row*>(saved.template data_ptr<T>()), row_grad, gradients);
  if (wanted[4]) set_temperature_gradient(result, dscale, in.scale);
  return result;
}

template <template <class> class Loss>
void check_call(const std::string& name, const PairwiseTensors& tensors, const Wanted& wanted) {
  if (wanted.size() != 5) fail(name, "wanted must have 5 entries");
  if (wanted[2] && !tensors.negatives) fail(name, "negatives must be given for their gradient");
  if (tensors.options.size() != Loss<float>::kOptions) fail(name, "wrong number of options");
}

}  // namespace

template <template <class> class Loss>
PairwiseResult pairwise_forward(const std::string& name, const PairwiseTensors& tensors,
                                const std::string& reduction, const Wanted& wanted) {
  check_call<Loss>(name, tensors, wanted);
  if (tensors.query.scalar_type() == at::kDouble) {
    return forward_as<Loss, double, double>(name, tensors, reduction, wanted);
  }
  return forward_as<Loss, float, float>(name, tensors, reduction, wanted);
}

template <template <class> class Loss>
PairwiseGradientTensors pairwise_backward(const std::string& name, const PairwiseTensors& tensors,
                                          const at::Tensor& rows, const at::Tensor& grad_loss,
                                          const Wanted& wanted) {
  check_call<Loss>(name, tensors, wanted);
  if (tensors.query.scalar_type() == at::kDouble) {
    return backward_as<Loss, double, double>(name, tensors, rows, grad_loss, wanted);
  }
  return backward_as<Loss, float, float>(name, tensors, rows, grad_loss, wanted);
}

at::Tensor pairwise_negatives_gradient(const at::Tensor& query, const at::Tensor& negatives,
                                       const at::Tensor& own, const at::Tensor& scale) {
  const auto dtype = query.scalar_type();
  const int64_t n = query.size(0), d = query.size(1), h = negatives.size(1);
  const std::string name = "negatives_gradient";
  const at::Tensor q = guarded(name, "query", query, dtype, {n, d});
  const at::Tensor k = guarded(name, "negatives", negatives, dtype, {n, h, d});
  const at::Tensor c = guarded(name, "own", own, dtype, {n, h, 2});
  const at::Tensor result = at::empty({n, h, d}, query.options());
  const auto fill = [&](auto zero) {
    using T = decltype(zero);
    const T factor = scale.item<T>();
    const T* const queries = q.template data_ptr<T>();
    const T* const keys = k.template data_ptr<T>();
    const T* const coefficients = c.template data_ptr<T>();
    T* const out = result.template data_ptr<T>();
    host::for_each_task((n + 63) / 64, [=](int64_t task, int64_t) {
      simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
        for (int64_t row = task * 64 * h; row < std::min(n, (task + 1) * 64) * h; ++row) {
          const T a = factor * coefficients[2 * row], r = coefficients[2 * row + 1];
          const T* __restrict x = queries + row / h * d;
          const T* __restrict y = keys + row * d;
          T* __restrict gradient = out + row * d;
#pragma omp simd
          for (int64_t j = 0; j < d; ++j) gradient[j] = a * (x[j] - r * y[j]);
        }
      });
    });
  };
  if (dtype == at::kDouble) {
    fill(double{});
  } else {
    fill(float{});
  }
  return result;
}

#define FASTLOSS_INSTANTIATE(stem, Functor)                                                     \
  template PairwiseResult pairwise_forward<Functor>(const std::string&, const PairwiseTensors&, \
                                                    const std::string&, const Wanted&);         \
  template PairwiseGradientTensors pairwise_backward<Functor>(                                  \
      const std::string&, const PairwiseTensors&, const at::Tensor&, const at::Tensor&,         \
      const Wanted&);
FASTLOSS_PAIRWISE_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss
