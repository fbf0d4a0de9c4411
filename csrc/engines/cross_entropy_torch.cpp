// cross_entropy on tensors (see pointwise_torch.h).
#include "engines/rows_torch.inl"
#include "losses/cross_entropy.h"

namespace fastloss {

namespace {

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

}  // namespace fastloss
