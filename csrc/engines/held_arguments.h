// What the losses of embeddings ask of their arguments: dense arrays of checked shape and values,
// kept alive for as long as an engine reads them.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "engines/similarity.h"
#include "engines/tensor_arguments.h"

namespace fastloss {

// A number that multiplies similarities, or divides them.
struct ScaleArgument {
  std::optional<at::Tensor> tensor;  // instead of value
  double value = 1;
  bool divides = true;
};

inline Similarity similarity_of(const std::string& name, const std::string& similarity) {
  if (similarity == "dot") return Similarity::kDot;
  if (similarity == "cosine") return Similarity::kCosine;
  if (similarity == "euclidean") return Similarity::kEuclidean;
  if (similarity == "sqeuclidean") return Similarity::kSquaredEuclidean;
  fail(name, "similarity must be \"dot\", \"cosine\", \"euclidean\" or \"sqeuclidean\", got \"" +
                 similarity + "\"");
}

// T is the accumulation type.
template <class T>
class HeldArguments {
 protected:
  explicit HeldArguments(const std::string& name) : name_(name) {}

  const at::Tensor& hold(at::Tensor tensor) {
    keep_.push_back(std::move(tensor));
    return keep_.back();
  }

  // What similarities are multiplied by.
  T scale_of(const char* argument, const ScaleArgument& scale) const {
    double value = scale.value;
    if (scale.tensor) {
      if (scale.tensor->numel() != 1) {
        fail(name_, std::string(argument) + " must be a single number");
      }
      value = scale.tensor->template item<double>();
    }
    if (!(value > 0) || std::isinf(value)) {
      fail(name_,
           std::string(argument) + " must be positive and finite, got " + std::to_string(value));
    }
    return static_cast<T>(scale.divides ? 1 / value : value);
  }

  const T* accumulated(const char* argument, const std::optional<at::Tensor>& tensor,
                       int64_t count) {
    if (!tensor) return nullptr;
    const at::Tensor wide = tensor->to(Stored<T>::dtype);
    return stored_data<T>(hold(guarded(name_, argument, wide, Stored<T>::dtype, {count})));
  }

  const T* not_negative(const char* argument, const T* values, int64_t count) const {
    for (int64_t i = 0; values != nullptr && i < count; ++i) {
      if (values[i] < T(0)) {
        fail(name_, std::string(argument) + " must not be negative, got " +
                        std::to_string(values[i]) + " at " + std::to_string(i));
      }
    }
    return values;
  }

  std::string name_;

 private:
  std::vector<at::Tensor> keep_;
};

}  // namespace fastloss
