// What the engines on the device ask of their tensors: shapes are checked, values are not, because
// reading them would wait for the device. See RowArguments (pairwise_run.h) for what a value that
// the CPU refuses becomes.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <deque>
#include <optional>
#include <string>

#include "cuda/pairwise_run.h"
#include "cuda/runtime_torch.h"
#include "engines/held_arguments.h"
#include "engines/values_torch.h"

namespace fastloss::device {

// A dense tensor of this type and shape beside `first`, or an error that names the argument.
inline at::Tensor guarded_beside(const at::Tensor& first, const std::string& name,
                                 const std::string& argument, const at::Tensor& tensor,
                                 at::ScalarType dtype, at::IntArrayRef shape) {
  if (tensor.device() != first.device()) {
    fail(name, argument + " must be on " + first.device().str() + ", got " + tensor.device().str());
  }
  if (tensor.scalar_type() != dtype) {
    fail(name, argument + " must be " + c10::toString(dtype) + ", got " +
                   c10::toString(tensor.scalar_type()));
  }
  if (tensor.sizes() != shape) {
    fail(name, argument + " must have shape " + show(shape) + ", got " + show(tensor.sizes()));
  }
  return tensor.contiguous();
}

// Tensors that an engine reads, kept alive; T is the accumulation type.
template <class T>
class HeldOnDevice {
 public:
  HeldOnDevice(const std::string& name, const at::Tensor& first)
      : name_(name), first_(first), runtime_(first) {}

  TorchRuntime& runtime() { return runtime_; }

  const at::Tensor& hold(at::Tensor tensor) {
    keep_.push_back(std::move(tensor));
    return keep_.back();
  }
  at::Tensor guarded(const std::string& argument, const at::Tensor& tensor, at::ScalarType dtype,
                     at::IntArrayRef shape) const {
    return guarded_beside(first_, name_, argument, tensor, dtype, shape);
  }
  at::Tensor empty(at::IntArrayRef shape, at::ScalarType dtype = Stored<T>::dtype) const {
    return at::empty(shape, first_.options().dtype(dtype));
  }
  template <class V = T>
  V* room(int64_t count) {
    return static_cast<V*>(
        hold(empty({count}, c10::CppTypeToScalarType<V>::value)).mutable_data_ptr());
  }

  const T* accumulated(const char* argument, const std::optional<at::Tensor>& tensor,
                       int64_t count) {
    if (!tensor) return nullptr;
    const at::Tensor wide = tensor->to(Stored<T>::dtype);
    return stored_data<T>(hold(guarded(argument, wide, Stored<T>::dtype, {count})));
  }

  // A single number of a tensor, on the device or, as torch allows beside it, on the CPU.
  const at::Tensor& number(const char* argument, const at::Tensor& tensor) {
    if (tensor.numel() != 1) fail(name_, std::string(argument) + " must be a single number");
    const at::Tensor& held = hold(dense_number(tensor));
    return held;
  }

  // What similarities are multiplied by.
  Scalar<T> scale_of(const char* argument, const ScaleArgument& scale) {
    double value = scale.value;
    if (scale.tensor) {
      const at::Tensor& held = number(argument, *scale.tensor);
      if (on_device(held)) {
        T* const out = room(1);
        prepare_scale<T>(runtime_, held.const_data_ptr(), stored_type(held.scalar_type()),
                         scale.divides, out);
        return {T(0), out};
      }
      value = held.template item<double>();
    }
    if (!(value > 0) || std::isinf(value)) {
      fail(name_,
           std::string(argument) + " must be positive and finite, got " + std::to_string(value));
    }
    return {static_cast<T>(scale.divides ? 1 / value : value)};
  }

 protected:
  std::string name_;
  at::Tensor first_;
  TorchRuntime runtime_;

 private:
  static at::Tensor dense_number(const at::Tensor& tensor) {
    const auto dtype = tensor.scalar_type();
    const bool known =
        dtype == at::kDouble || dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
    return (known ? tensor : tensor.to(at::kDouble)).contiguous();
  }

  std::deque<at::Tensor> keep_;  // references stay good
};

}  // namespace fastloss::device
