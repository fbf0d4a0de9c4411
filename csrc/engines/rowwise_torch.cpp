// Tensors to the row-wise engine and back (see rowwise_torch.h).
#include "engines/rowwise_torch.h"

#include <ATen/ops/empty.h>

#include <utility>

#include "engines/rowwise_cpu.h"
#include "engines/values_torch.h"
#include "losses/contrastive_loss.h"
#include "losses/labelled_triplet_loss.h"
#include "losses/triplet_margin_loss.h"

namespace fastloss {

namespace {

// One of the names of an option, or an error.
template <class Value>
Value named(const std::string& name, const std::string& argument, const std::string& got,
            std::initializer_list<std::pair<const char*, Value>> known) {
  for (const auto& [text, value] : known) {
    if (got == text) return value;
  }
  fail(name, argument + " is unknown: \"" + got + "\"");
}

template <class T>
RowDistance<T> distance(const std::string& name, const std::string& similarity, double p,
                        double eps) {
  const Distance kind = named<Distance>(name, "similarity", similarity,
                                        {{"euclidean", Distance::kEuclidean},
                                         {"sqeuclidean", Distance::kSquaredEuclidean},
                                         {"cosine", Distance::kCosine},
                                         {"dot", Distance::kDot}});
  if (kind == Distance::kEuclidean && p != 2) {
    if (!(p >= 1)) fail(name, "p must be at least 1, got " + std::to_string(p));
    return {.kind = Distance::kMinkowski, .p = p, .eps = static_cast<T>(eps)};
  }
  return {.kind = kind, .eps = static_cast<T>(eps)};
}

Hinge hinge_named(const std::string& name, const std::string& hinge) {
  return named<Hinge>(
      name, "hinge", hinge,
      {{"relu", Hinge::kRelu}, {"softplus", Hinge::kSoftplus}, {"none", Hinge::kNone}});
}

// Holds dense copies of the arguments, where they are not dense, for as long as they are used.
template <class T>
class Held {
 public:
  explicit Held(std::string name) : name_(std::move(name)) {}

  Source<T> operand(const char* argument, const at::Tensor& tensor, const at::Tensor& like,
                    at::IntArrayRef shape) {
    if (tensor.scalar_type() != like.scalar_type()) {
      fail(name_, std::string(argument) + " must have the same dtype as the first operand");
    }
    if (tensor.sizes() != shape) {
      fail(name_, std::string(argument) + " must have shape " + show(shape) + ", got " +
                      show(tensor.sizes()));
    }
    return source<T>(hold(dense(name_, argument, tensor)));
  }

  // Values of the accumulation type, (n), each of which `takes` accepts.
  template <class Takes>
  const T* vector(const char* argument, const char* rule, const at::Tensor& tensor, int64_t n,
                  const Takes& takes) {
    const T* const values =
        hold(guarded(name_, argument, tensor.to(accumulated_dtype<T>), accumulated_dtype<T>, {n}))
            .template const_data_ptr<T>();
    for (int64_t i = 0; i < n; ++i) {
      if (!takes(values[i])) {
        fail(name_, std::string(argument) + " " + rule + ", got " + std::to_string(values[i]) +
                        " at " + std::to_string(i));
      }
    }
    return values;
  }

  const T* labels(const at::Tensor& label, int64_t n) {
    return vector("label", "must be 0 or 1", label, n,
                  [](T value) { return value == T(0) || value == T(1); });
  }

 private:
  const at::Tensor& hold(at::Tensor tensor) {
    keep_.push_back(std::move(tensor));
    return keep_.back();
  }

  std::string name_;
  std::vector<at::Tensor> keep_;
};

void check_rows(const std::string& name, const char* argument, const at::Tensor& tensor) {
  if (tensor.dim() != 2) fail(name, std::string(argument) + " must have 2 dimensions");
}

// One call: the kind of row with everything it points to, and the rows' weights.
template <class T, class Rows>
struct RowwiseCall {
  std::string name;
  std::vector<at::Tensor> operands;
  Held<T> held;
  Rows rows;
  const T* weights = nullptr;

  // What a mean divides by: the distances that count, each with its row's weight.
  double divisor() const {
    const RowFactor<T> factor{.weights = weights};
    double sum = 0;
    for (int64_t i = 0; i < rows.rows; ++i) sum += factor.weight(i);
    return sum * static_cast<double>(rows.slopes());
  }
};

template <class T>
auto call_of(const TripletMarginArguments& of) {
  using Loss = TripletMarginLoss<double>;
  RowwiseCall<T, TripletRows<Loss, T>> call{"triplet_margin_loss",
                                            {of.anchor, of.positive, of.negative},
                                            Held<T>("triplet_margin_loss"),
                                            {}};
  check_rows(call.name, "anchor", of.anchor);
  const int64_t n = of.anchor.size(0), d = of.anchor.size(1);
  const int64_t h = of.negative.dim() == 3 ? of.negative.size(1) : 1;
  call.rows = {.operands = {call.held.operand("anchor", of.anchor, of.anchor, {n, d}),
                            call.held.operand("positive", of.positive, of.anchor, {n, d}),
                            call.held.operand("negative", of.negative, of.anchor, {n, h, d})},
               .rows = n,
               .features = d,
               .negatives = h,
               .between = distance<T>(call.name, of.similarity, of.p, of.eps),
               .swap = of.swap,
               .loss = {of.margin, hinge_named(call.name, of.hinge)}};
  if (of.weights) {
    call.weights = call.held.vector("weights", "must not be negative", *of.weights, n,
                                    [](T value) { return !(value < T(0)); });
  }
  return call;
}

template <class T>
auto call_of(const LabelledTripletArguments& of) {
  using Loss = LabelledTripletLoss<double>;
  RowwiseCall<T, LabelledRows<Loss, T>> call{"labelled_triplet_loss",
                                             {of.anchor, of.positive, of.negative},
                                             Held<T>("labelled_triplet_loss"),
                                             {}};
  check_rows(call.name, "anchor", of.anchor);
  const int64_t n = of.anchor.size(0), d = of.anchor.size(1);
  call.rows = {.operands = {call.held.operand("anchor", of.anchor, of.anchor, {n, d}),
                            call.held.operand("positive", of.positive, of.anchor, {n, d}),
                            call.held.operand("negative", of.negative, of.anchor, {n, d})},
               .rows = n,
               .features = d,
               .labels = call.held.labels(of.label, n),
               .loss = {of.margin, hinge_named(call.name, of.hinge)}};
  return call;
}

template <class T>
auto call_of(const ContrastiveArguments& of) {
  using Loss = ContrastiveLoss<double>;
  RowwiseCall<T, PairRows<Loss, T>> call{
      "contrastive_loss", {of.x1, of.x2}, Held<T>("contrastive_loss"), {}};
  check_rows(call.name, "x1", of.x1);
  const int64_t n = of.x1.size(0), d = of.x1.size(1);
  const NegativeTerm term = named<NegativeTerm>(
      call.name, "negative_term", of.negative_term,
      {{"margin_minus_d_sq", NegativeTerm::kMarginMinusDistanceSquared},
       {"margin_sq_minus_d_sq", NegativeTerm::kMarginSquaredMinusDistanceSquared},
       {"linear", NegativeTerm::kLinear},
       {"as_published", NegativeTerm::kAsPublished}});
  call.rows = {.operands = {call.held.operand("x1", of.x1, of.x1, {n, d}),
                            call.held.operand("x2", of.x2, of.x1, {n, d})},
               .rows = n,
               .features = d,
               .between = distance<T>(call.name, of.similarity, 2, 0),
               .labels = call.held.labels(of.label, n),
               .similar = static_cast<T>(of.similar_label),
               .loss = {of.margin, of.scale, term}};
  return call;
}

template <class T, class Call>
RowwiseResult forward_as(const Call& call, const std::string& reduction) {
  const auto dtype = accumulated_dtype<T>;
  const int64_t n = call.rows.rows;
  const bool none = reduction == "none";
  const at::Tensor loss = none ? at::empty({n}, dtype) : at::empty({}, dtype);
  const at::Tensor saved = at::empty({n, call.rows.slopes()}, dtype);
  T* const out = loss.template mutable_data_ptr<T>();
  const double total = RowwiseCpu<decltype(call.rows), T>(call.rows).forward(
      call.weights, none ? out : nullptr, saved.template mutable_data_ptr<T>());
  const double divisor = reduction == "mean" ? call.divisor() : 1;
  if (!none) *out = divisor == 0 ? T(0) : static_cast<T>(total / divisor);
  return {loss, saved};
}

template <class T, class Call>
RowwiseGradients backward_as(const at::Tensor& grad_loss, const at::Tensor& saved, const Call& call,
                             const std::string& reduction, const std::vector<bool>& wanted) {
  using Engine = RowwiseCpu<decltype(call.rows), T>;
  const auto dtype = accumulated_dtype<T>;
  const int64_t n = call.rows.rows;
  const bool none = reduction == "none";
  if (wanted.size() != Engine::kOperands) {
    fail(call.name, "wanted must have " + std::to_string(Engine::kOperands) + " entries");
  }
  const at::Tensor slopes = guarded(call.name, "saved", saved, dtype, {n, call.rows.slopes()});
  const std::vector<int64_t> shape = none ? std::vector<int64_t>{n} : std::vector<int64_t>{};
  const at::Tensor upstream = guarded(call.name, "grad_loss", grad_loss, dtype, shape);
  const T* const given = upstream.template const_data_ptr<T>();
  RowFactor<T> factor{.weights = call.weights};
  if (none) {
    factor.upstream = given;
  } else {
    const double divisor = reduction == "mean" ? call.divisor() : 1;
    factor.overall = divisor == 0 ? 0 : static_cast<double>(*given) / divisor;
  }
  RowwiseGradients result;
  Sink<T> sinks[Engine::kOperands];
  for (size_t o = 0; o < wanted.size(); ++o) {
    const at::Tensor& operand = call.operands[o];
    result.push_back(wanted[o] ? empty_like(operand) : at::empty({0}, operand.options()));
    if (wanted[o]) sinks[o] = sink<T>(result.back());
  }
  Engine(call.rows).backward(slopes.template const_data_ptr<T>(), factor, sinks);
  return result;
}

at::ScalarType dtype_of(const TripletMarginArguments& of) { return of.anchor.scalar_type(); }
at::ScalarType dtype_of(const LabelledTripletArguments& of) { return of.anchor.scalar_type(); }
at::ScalarType dtype_of(const ContrastiveArguments& of) { return of.x1.scalar_type(); }

}  // namespace

template <class Arguments>
RowwiseResult rowwise_forward(const Arguments& arguments, const std::string& reduction) {
  return with_accumulated_type(dtype_of(arguments), [&](auto accumulated) {
    using T = decltype(accumulated);
    return forward_as<T>(call_of<T>(arguments), reduction);
  });
}

template <class Arguments>
RowwiseGradients rowwise_backward(const at::Tensor& grad_loss, const at::Tensor& saved,
                                  const Arguments& arguments, const std::string& reduction,
                                  const std::vector<bool>& wanted) {
  return with_accumulated_type(dtype_of(arguments), [&](auto accumulated) {
    using T = decltype(accumulated);
    return backward_as<T>(grad_loss, saved, call_of<T>(arguments), reduction, wanted);
  });
}

#define FASTLOSS_INSTANTIATE(Arguments)                                                       \
  template RowwiseResult rowwise_forward<Arguments>(const Arguments&, const std::string&);    \
  template RowwiseGradients rowwise_backward<Arguments>(const at::Tensor&, const at::Tensor&, \
                                                        const Arguments&, const std::string&, \
                                                        const std::vector<bool>&);
FASTLOSS_INSTANTIATE(TripletMarginArguments)
FASTLOSS_INSTANTIATE(LabelledTripletArguments)
FASTLOSS_INSTANTIATE(ContrastiveArguments)
#undef FASTLOSS_INSTANTIATE

}  // namespace fastloss
