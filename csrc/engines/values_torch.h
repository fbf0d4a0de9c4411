// Tensors as arrays of a type that is known at run time (values.h).
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <string>
#include <type_traits>

#include "engines/tensor_arguments.h"
#include "engines/values.h"

namespace fastloss {

template <class T>
constexpr at::ScalarType accumulated_dtype = c10::CppTypeToScalarType<T>::value;

// Calls work(T{}) with the type in which values of a dtype are accumulated.
template <class Work>
auto with_accumulated_type(at::ScalarType dtype, const Work& work) {
  if (dtype == at::kDouble) return work(double{});
  return work(float{});  // `dense` refuses other dtypes
}

inline StoredType stored_type(at::ScalarType dtype) {
  if (dtype == at::kDouble) return StoredType::kDouble;
  if (dtype == at::kBFloat16) return StoredType::kBFloat16;
  if (dtype == at::kHalf) return StoredType::kFloat16;
  return StoredType::kFloat;
}

// Where a tensor of another dtype may stand beside the input: one that accumulates in T.
template <class T>
at::Tensor beside(const at::Tensor& tensor) {
  const bool wide = tensor.scalar_type() == at::kDouble;
  const bool fits = tensor.is_floating_point() && wide == std::is_same_v<T, double>;
  return fits ? tensor : tensor.to(accumulated_dtype<T>);
}

// A dense CPU tensor of one of the four dtypes, or an error that names the argument.
inline at::Tensor dense(const std::string& name, const std::string& argument,
                        const at::Tensor& tensor) {
  const auto dtype = tensor.scalar_type();
  if (dtype != at::kDouble && dtype != at::kFloat && dtype != at::kBFloat16 && dtype != at::kHalf) {
    fail(name,
         argument + " must be float32, float64, bfloat16 or float16, got " + c10::toString(dtype));
  }
  return guarded(name, argument, tensor, dtype, tensor.sizes());
}

template <class T>
Source<T> source(const at::Tensor& dense) {
  return {dense.const_data_ptr(), stored_type(dense.scalar_type())};
}

template <class T>
Sink<T> sink(const at::Tensor& dense) {
  return {dense.mutable_data_ptr(), stored_type(dense.scalar_type())};
}

// Dense, whatever the strides of `tensor`.
inline at::Tensor empty_like(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), tensor.options());
}

}  // namespace fastloss
