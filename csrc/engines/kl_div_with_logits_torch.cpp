// kl_div_with_logits on tensors (see pointwise_torch.h).
#include "engines/rows_torch.inl"
#include "losses/kl_div_with_logits.h"

namespace fastloss {

namespace {

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
