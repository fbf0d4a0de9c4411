// What the pairwise engine on the device is given, and what it fills: engines/pairwise.h with all
// arrays on the device. Raw pointers, no torch.
#pragma once

#include <cstdint>

#include "cuda/scalar.h"
#include "engines/similarity.h"

namespace fastloss::device {

// Rows without a target, and rows that do not exist, in `target`.
constexpr int64_t kNoTarget = -1;
constexpr int64_t kIgnoredRow = -2;

// S is the stored type, T the accumulation type.
template <class S, class T>
struct PairwiseOnDevice {
  int64_t n, m, d, h;
  const S* query;          // (n, d)
  const S* key;            // (m, d)
  const S* negatives;      // (n, h, d)
  const T* key_bias;       // (m) or null
  const int64_t* target;   // (n): a column, kNoTarget or kIgnoredRow
  const int64_t* key_ids;  // (m) or null: keys with the target's id leave the row
  // (n): what a row's loss and gradient are multiplied by; 0 for rows that are ignored.
  const T* factor;
  const T* counted;  // (n): the row's part of what a mean divides by, if it counts
  // Whether all factors but those of ignored rows lie in [½, 1].
  bool plain_factors;
  Similarity similarity;
  Scalar<T> scale;
  bool scale_divides;  // the gradient asked for is that of 1 / scale
  T margin;
  int64_t workspace;   // bytes
  bool tiles = false;  // scores by the tensor-core kernels (mma_states.cuh), where there are some
};

// Of engines/pairwise.h; null = not wanted.
template <class T>
struct PairwiseGradientsOnDevice {
  T* query = nullptr;     // (n, d)
  T* key = nullptr;       // (m, d)
  T* key_bias = nullptr;  // (m)
  T* scale = nullptr;     // (1): ∂/∂scale, or ∂/∂(1 / scale)
  T* shift = nullptr;     // (1): ∂/∂(a number added to all scores)
  T* own = nullptr;       // (n, h, 2)

  bool any() const { return query || key || key_bias || scale || shift || own; }
  bool of_operands() const { return query || key; }
};

template <class T>
struct PairwiseResultOnDevice {
  bool mean = false;
  T* loss = nullptr;  // (1) or null: not wanted
  PairwiseGradientsOnDevice<T> gradients{};
};

// A functor one of whose numbers may lie on the device: the bias of all scores.
template <class Loss>
struct DeviceLoss {
  using T = typename Loss::Value;

  Loss loss;
  const T* bias = nullptr;

  FASTLOSS_HOST_DEVICE Loss get() const {
    Loss copy = loss;
    if constexpr (requires { copy.bias; }) {
      if (bias != nullptr) copy.bias = *bias;
    }
    return copy;
  }
};

}  // namespace fastloss::device
