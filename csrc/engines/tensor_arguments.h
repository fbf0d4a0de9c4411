// What every engine asks of a tensor before it takes its pointer.
#pragma once

#include <ATen/core/Tensor.h>

#include <stdexcept>
#include <string>

#include "core/half.h"

namespace fastloss {

// The dtype of stored values, and the type in which they are accumulated.
template <class S>
struct Stored {
  static constexpr auto dtype = c10::CppTypeToScalarType<S>::value;
  using Accumulated = S;
};
template <>
struct Stored<BFloat16> {
  static constexpr auto dtype = at::kBFloat16;
  using Accumulated = float;
};
template <>
struct Stored<Float16> {
  static constexpr auto dtype = at::kHalf;
  using Accumulated = float;
};

// Whether this build has the engines of the device (cuda/). In the build whose device is the CPU
// (tests/emulator) there are no others.
#if defined(FASTLOSS_CUDA)
constexpr bool kCuda = true;
#else
constexpr bool kCuda = false;
#endif
#if defined(FASTLOSS_EMULATOR)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

// Whether they work on a tensor.
inline bool on_device(const at::Tensor& tensor) {
  return kCuda && (kEmulated ? tensor.is_cpu() : tensor.is_cuda());
}

[[noreturn]] inline void fail(const std::string& name, const std::string& what) {
  throw std::invalid_argument(name + ": " + what);
}

inline std::string show(at::IntArrayRef shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

// A dense CPU tensor of this type and shape, or an error that names the argument.
inline at::Tensor guarded(const std::string& name, const std::string& argument,
                          const at::Tensor& tensor, at::ScalarType dtype, at::IntArrayRef shape) {
  if (!tensor.device().is_cpu()) fail(name, argument + " must be on the CPU");
  if (tensor.scalar_type() != dtype) {
    fail(name, argument + " must be " + c10::toString(dtype) + ", got " +
                   c10::toString(tensor.scalar_type()));
  }
  if (tensor.sizes() != shape) {
    fail(name, argument + " must have shape " + show(shape) + ", got " + show(tensor.sizes()));
  }
  return tensor.contiguous();
}

template <class S>
const S* stored_data(const at::Tensor& tensor) {
  return static_cast<const S*>(tensor.const_data_ptr());
}

}  // namespace fastloss
