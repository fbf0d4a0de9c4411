// What the losses of scores share where tensors become arrays.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "engines/pointwise_cpu.h"
#include "engines/values_torch.h"

namespace fastloss {

// Every value must be one that `takes` takes; null rule: any.
template <class Takes, class T>
void check_values(const std::string& name, const char* argument, const char* rule,
                  const Source<T>& values, int64_t count, const Takes& takes) {
  for (int64_t i = 0; rule != nullptr && i < count; ++i) {
    if (const T value = values[i]; !takes(value)) {
      fail(name, std::string(argument) + " " + rule + ", got " + std::to_string(value) + " at " +
                     std::to_string(i));
    }
  }
}

template <class T>
Upstream<T> upstream_of(const std::string& name, const at::Tensor& grad_loss, bool none,
                        at::IntArrayRef shape, T overall, at::Tensor& keep) {
  keep =
      guarded(name, "grad_loss", grad_loss, accumulated_dtype<T>, none ? shape : at::IntArrayRef{});
  const T* const data = keep.template const_data_ptr<T>();
  return none ? Upstream<T>{data, T(1)} : Upstream<T>{nullptr, *data * overall};
}

}  // namespace fastloss
