// What the engine of one set on the device is given, and what it fills: engines/self.h with all
// arrays on the device. Raw pointers, no torch.
#pragma once

#include <cstdint>

#include "cuda/scalar.h"
#include "engines/similarity.h"

namespace fastloss::device {

// Labels of a functor are read past the last candidate, by less than this.
constexpr int64_t kSelfPad = 128;

// S is the stored type, T the accumulation type.
template <class S, class T>
struct SelfOnDevice {
  int64_t n, k, d;
  const S* rows;     // (n, d)
  const S* others;   // (k, d)
  bool itself;       // rows are candidates of each other
  const T* factor;   // (n): what a row's loss and gradient are multiplied by
  const T* counted;  // (n): the row's part of what a mean divides by, if it counts
  Similarity similarity;
  Scalar<T> scale;
  bool scale_divides;  // the gradient asked for is that of 1 / scale
  int64_t workspace;   // bytes
  bool tiles = false;  // scores by the tensor-core kernels (mma_states.cuh), where there are some
};

// Null = not wanted.
template <class T>
struct SelfGradientsOnDevice {
  T* rows = nullptr;    // (n, d)
  T* others = nullptr;  // (k, d)
  T* scale = nullptr;   // (1): ∂/∂scale, or ∂/∂(1 / scale)

  bool any() const { return rows || others || scale; }
};

template <class T>
struct SelfResultOnDevice {
  bool mean = false;
  T* loss = nullptr;  // (1) or null: not wanted
  SelfGradientsOnDevice<T> gradients{};
};

}  // namespace fastloss::device
