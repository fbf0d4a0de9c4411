// Tensors to the engine of one set on the device, and back (engines/self_torch.h).
#include "engines/self_torch.h"

#include "cuda/self_arguments_torch.h"
#include "cuda/self_run.h"
#include "engines/self.h"
#include "losses/registry.h"

namespace fastloss::device {

namespace {

// One call: the arguments, the engine, and the tensors it fills.
template <template <class> class Loss, class S>
class Call {
 public:
  using T = typename Stored<S>::Accumulated;
  using Row = typename Loss<T>::Row;
  static constexpr int64_t kRow = sizeof(Row) / sizeof(T);

  Call(const std::string& name, const SelfTensors& tensors, const Wanted& wanted,
       const at::Tensor* upstream)
      : name_(checked(name, tensors, wanted)),
        arguments_(name, tensors, Loss<T>::kPaired, kIsOfPairs<Loss<T>>, upstream),
        in_(arguments_.input),
        wanted_(wanted),
        loss_(Loss<T>::make(tensors.options.data(), arguments_.labels)) {}

  SelfResult forward(const std::string& reduction) {
    SelfResult result;
    result.rows = arguments_.empty({in_.n, kRow});
    make_gradients(result.gradients);
    const bool each = reduction == "none";
    result.loss = each ? arguments_.empty({in_.n}) : arguments_.empty({});
    T* const loss = result.loss.template mutable_data_ptr<T>();
    out_.mean = reduction == "mean";
    out_.loss = each ? nullptr : loss;
    run_self_forward<Loss, S, T>(arguments_.runtime(), in_, loss_,
                                 static_cast<Row*>(result.rows.mutable_data_ptr()), out_,
                                 each ? loss : nullptr);
    return result;
  }

  SelfGradientTensors backward(const at::Tensor& saved) {
    const at::Tensor rows = arguments_.guarded("rows", saved, Stored<T>::dtype, {in_.n, kRow});
    SelfGradientTensors result;
    make_gradients(result);
    run_self_backward<Loss, S, T>(arguments_.runtime(), in_, loss_,
                                  static_cast<const Row*>(rows.const_data_ptr()), out_);
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
      return arguments_.empty(wants ? shape : at::IntArrayRef{0});
    };
    g = {make(wanted_[0], {in_.n, in_.d}), make(wanted_[1], {in_.k, in_.d}), make(wanted_[2], {})};
    const auto place = [&](size_t i) {
      return wanted_[i] ? g[i].template mutable_data_ptr<T>() : nullptr;
    };
    out_.gradients = {.rows = place(0), .others = place(1), .scale = place(2)};
  }

  std::string name_;
  SelfDeviceArguments<S> arguments_;
  const SelfOnDevice<S, T>& in_;
  Wanted wanted_;
  Loss<T> loss_;
  SelfResultOnDevice<T> out_{};
};

}  // namespace

template <template <class> class Loss>
SelfResult self_forward(const std::string& name, const SelfTensors& tensors,
                        const std::string& reduction, const Wanted& wanted) {
  return with_stored_type(tensors.rows.scalar_type(), [&](auto stored) {
    return Call<Loss, decltype(stored)>(name, tensors, wanted, nullptr).forward(reduction);
  });
}

template <template <class> class Loss>
SelfGradientTensors self_backward(const std::string& name, const SelfTensors& tensors,
                                  const at::Tensor& rows, const at::Tensor& grad_loss,
                                  const Wanted& wanted) {
  return with_stored_type(tensors.rows.scalar_type(), [&](auto stored) {
    return Call<Loss, decltype(stored)>(name, tensors, wanted, &grad_loss).backward(rows);
  });
}

#define FASTLOSS_INSTANTIATE(stem, Functor)                                                   \
  template SelfResult self_forward<Functor>(const std::string&, const SelfTensors&,           \
                                            const std::string&, const Wanted&);               \
  template SelfGradientTensors self_backward<Functor>(const std::string&, const SelfTensors&, \
                                                      const at::Tensor&, const at::Tensor&,   \
                                                      const Wanted&);
FASTLOSS_SELF_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss::device
