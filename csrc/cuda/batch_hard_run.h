// Batch-hard triplets on the device, for callers that compile no kernels: batch_hard.cu
// instantiates them for every storage type. All pointers are of the device; nothing waits for it.
#pragma once

#include <cstdint>

#include "cuda/runtime.h"
#include "cuda/self_input.h"
#include "losses/triplet_margin_loss.h"

namespace fastloss::device {

// S is the stored type, T the accumulation type.
template <class S, class T>
struct ChosenOnDevice {
  int64_t n, m, d;
  const S* anchors;        // (n, d)
  const S* candidates;     // (m, d)
  bool itself;             // the anchors are the candidates: their gradient is one
  const int64_t* choices;  // (n, 2): positive and negative, candidates; −1: there is none
  Similarity similarity;
  TripletMarginLoss<double> loss;
  bool all_anchors;   // an anchor without a positive has distance 0 to it; it has no loss otherwise
  const T* upstream;  // (n), or 1 value; of gradients
  bool one_upstream;
  bool mean;
};

// Fills choices (n, 2). Labels go kSelfPad beyond the last of n + k.
template <class S, class T>
void hardest(Runtime& runtime, const SelfOnDevice<S, T>& in, const int32_t* label,
             int64_t* choices);

// `each` (n) and `loss` (1), sum or mean; null: not wanted.
template <class S, class T>
void chosen_forward(Runtime& runtime, const ChosenOnDevice<S, T>& in, T* each, T* loss);

// choosers[begin[j] … begin[j + 1]) are the places in `choices` of candidate j, ascending, for
// j < m. Gradients in the stored type; null: not wanted.
template <class S, class T>
void chosen_backward(Runtime& runtime, const ChosenOnDevice<S, T>& in, const int64_t* begin,
                     const int64_t* choosers, S* of_anchors, S* of_candidates);

}  // namespace fastloss::device
