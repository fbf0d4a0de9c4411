// Tensors to the engine of sampled rows and back (see sampled_torch.h).
#include "engines/sampled_torch.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "engines/sampled_cpu.h"
#include "engines/values_torch.h"
#include "losses/bpr_loss.h"
#include "losses/pairwise_margin_loss.h"

namespace fastloss {

namespace {

template <class T>
class SampledCall {
 public:
  SampledInput<T> input{};

  SampledCall(const std::string& name, const SampledTensors& t, const std::string& reduction,
              const std::vector<bool>& wanted)
      : name_(name), reduction_(reduction), wanted_(wanted) {
    if (t.positive.dim() != 2 || t.negative.dim() != 2) {
      fail(name, "positive and negative must have 2 dimensions");
    }
    if (t.negative.scalar_type() != t.positive.scalar_type()) {
      fail(name, "negative must have the same dtype as positive");
    }
    input.rows = t.positive.size(0);
    input.positives = t.positive.size(1);
    input.negatives = t.negative.size(1);
    input.positive = source<T>(hold(dense(name, "positive", t.positive)));
    if (t.negative.size(0) != input.rows) {
      fail(name, "negative must have as many rows as positive, got " + show(t.negative.sizes()) +
                     " for " + show(t.positive.sizes()));
    }
    input.negative = source<T>(hold(dense(name, "negative", t.negative)));
    input.positive_where = where("positive_where", t.positive_where, t.positive.sizes());
    input.negative_where = where("negative_where", t.negative_where, t.negative.sizes());
    weights_ = vector("weights", t.weights, {input.rows});
    for (int64_t i = 0; weights_ != nullptr && i < input.rows; ++i) {
      if (weights_[i] < T(0)) {
        fail(name, "weights must not be negative, got " + std::to_string(weights_[i]) + " at " +
                       std::to_string(i));
      }
    }
  }

  // Values of the accumulation type in this shape, or null.
  const T* vector(const char* argument, const std::optional<at::Tensor>& tensor,
                  at::IntArrayRef shape) {
    if (!tensor) return nullptr;
    const at::Tensor wide = tensor->to(accumulated_dtype<T>);
    return hold(guarded(name_, argument, wide, accumulated_dtype<T>, shape))
        .template const_data_ptr<T>();
  }

  // `count(b)` is what row b counts in the divisor of a mean, times its weight; without masks all
  // rows count the same.
  template <class Engine, class Count>
  SampledResult forward(const Engine& engine, const Count& count, T dscale_factor = 1) {
    const int64_t b = input.rows;
    const bool none = reduction_ == "none";
    const double divisor = reduction_ == "mean" ? divisor_of(count) : 1;
    const RowWeights<T> weights{weights_, divisor == 0 ? T(0) : static_cast<T>(1 / divisor)};
    SampledResult result = make(none);
    SampledGradients<T> gradients;
    if (wanted_[0]) gradients.positive = result[1].template mutable_data_ptr<T>();
    if (wanted_[1]) gradients.negative = result[2].template mutable_data_ptr<T>();
    const bool wants_scale = wanted_.size() > 2 && wanted_[2];
    const host::Buffer<double> dscale(wants_scale ? b : 0);
    if (wants_scale) gradients.scale = dscale.data();
    T* const loss = result[0].template mutable_data_ptr<T>();
    const double total = engine.forward(weights, none ? loss : nullptr, gradients);
    if (!none) *loss = divisor == 0 ? T(0) : static_cast<T>(total / divisor);
    if (wants_scale) {
      T* const out = result[3].template mutable_data_ptr<T>();
      double total_dscale = 0;
      for (int64_t i = 0; i < b; ++i) {
        if (none) out[i] = static_cast<T>(dscale[i]) * dscale_factor;
        total_dscale += dscale[i];
      }
      if (!none) *out = static_cast<T>(total_dscale) * dscale_factor;
    }
    return result;
  }

 private:
  const at::Tensor& hold(at::Tensor tensor) {
    keep_.push_back(std::move(tensor));
    return keep_.back();
  }

  const bool* where(const char* argument, const std::optional<at::Tensor>& tensor,
                    at::IntArrayRef shape) {
    if (!tensor) return nullptr;
    return hold(guarded(name_, argument, *tensor, at::kBool, shape))
        .template const_data_ptr<bool>();
  }

  template <class Count>
  double divisor_of(const Count& count) const {
    const bool alike = input.positive_where == nullptr && input.negative_where == nullptr;
    if (alike && weights_ == nullptr) {
      return input.rows > 0 ? static_cast<double>(input.rows) * count(0) : 0;
    }
    double sum = 0;
    for (int64_t i = 0; i < input.rows; ++i) {
      sum += weights_ != nullptr ? static_cast<double>(weights_[i]) * count(i) : count(i);
    }
    return sum;
  }

  SampledResult make(bool none) const {
    const auto dtype = accumulated_dtype<T>;
    const std::vector<int64_t> reduced =
        none ? std::vector<int64_t>{input.rows} : std::vector<int64_t>{};
    SampledResult result{at::empty(reduced, dtype)};
    const std::vector<int64_t> shapes[] = {
        {input.rows, input.positives}, {input.rows, input.negatives}, reduced};
    for (size_t i = 0; i < wanted_.size(); ++i) {
      result.push_back(at::empty(wanted_[i] ? shapes[i] : std::vector<int64_t>{0}, dtype));
    }
    return result;
  }

  std::string name_, reduction_;
  std::vector<bool> wanted_;
  const T* weights_ = nullptr;
  std::vector<at::Tensor> keep_;
};

void check_wanted(const std::string& name, const std::vector<bool>& wanted, size_t count) {
  if (wanted.size() != count) {
    fail(name, "wanted must have " + std::to_string(count) + " entries");
  }
}

template <template <class> class Loss, class... Options>
SampledResult pairs_forward(const std::string& name, const SampledTensors& tensors,
                            const std::string& reduction, const std::vector<bool>& wanted,
                            Options... options) {
  check_wanted(name, wanted, 2);
  return with_accumulated_type(tensors.positive.scalar_type(), [&](auto accumulated) {
    using T = decltype(accumulated);
    SampledCall<T> call(name, tensors, reduction, wanted);
    const Loss<T> loss{static_cast<T>(options)...};
    return call.forward(SampledPairsCpu<Loss<T>, T>(call.input, loss),
                        [&](int64_t row) { return count_pairs(call.input, row); });
  });
}

}  // namespace

SampledResult bpr_loss_forward(const SampledTensors& tensors, const std::string& reduction,
                               const std::vector<bool>& wanted) {
  return pairs_forward<BprLoss>("bpr_loss", tensors, reduction, wanted);
}

SampledResult pairwise_margin_loss_forward(const SampledTensors& tensors, double margin,
                                           const std::string& reduction,
                                           const std::vector<bool>& wanted) {
  return pairs_forward<PairwiseMarginLoss>("pairwise_margin_loss", tensors, reduction, wanted,
                                           margin);
}

SampledResult sampled_softmax_loss_forward(const SampledTensors& tensors,
                                           const std::optional<at::Tensor>& positive_log_q,
                                           const std::optional<at::Tensor>& negative_log_q,
                                           const std::optional<at::Tensor>& temperature_tensor,
                                           double temperature, const std::string& reduction,
                                           const std::vector<bool>& wanted) {
  const std::string name = "sampled_softmax_loss";
  check_wanted(name, wanted, 3);
  if (temperature_tensor) {
    if (temperature_tensor->numel() != 1) fail(name, "temperature must be a single number");
    temperature = temperature_tensor->item<double>();
  }
  if (!(temperature > 0) || std::isinf(temperature)) {
    fail(name, "temperature must be positive and finite, got " + std::to_string(temperature));
  }
  return with_accumulated_type(tensors.positive.scalar_type(), [&](auto accumulated) {
    using T = decltype(accumulated);
    SampledCall<T> call(name, tensors, reduction, wanted);
    SampledInput<T>& in = call.input;
    if (in.positives != 1) fail(name, "positive must have one score a row");
    in.positive_log_q = call.vector("positive_log_q", positive_log_q, {in.rows});
    in.negative_log_q = call.vector("negative_log_q", negative_log_q, {in.rows, in.negatives});
    const double scale = 1 / temperature;
    in.scale = static_cast<T>(scale);
    // s / τ: ∂/∂τ = −scale² · ∂/∂scale.
    return call.forward(
        SampledSoftmaxCpu<T>(in), [](int64_t) { return 1.0; }, static_cast<T>(-scale * scale));
  });
}

}  // namespace fastloss
