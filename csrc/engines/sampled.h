// The engine of sampled rows: every row has a few positive scores and a few negative ones.
//
// A loss of pairs, each positive of a row against each negative, is a functor
// (losses/bpr_loss.h) that gives
//     at(negative − positive) → Element     value and derivative of a pair, branch-free
// The other loss here normalises a row's negatives (losses/sampled_softmax_loss.h). Masked scores
// are never read into arithmetic. Gradients are formed in the forward pass: pairs are many, scores
// are few. Sums run in a fixed order.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "engines/values.h"

namespace fastloss {

template <class T>
struct SampledInput {
  int64_t rows, positives, negatives;
  Source<T> positive;          // (rows, positives)
  Source<T> negative;          // (rows, negatives)
  const bool* positive_where;  // (rows, positives) or null: all are real
  const bool* negative_where;  // (rows, negatives) or null
  const T* positive_log_q;     // (rows, positives) or null: 0
  const T* negative_log_q;     // (rows, negatives) or null
  T scale = 1;                 // multiplies scores, before log q
};

// What the loss of row b is multiplied by, in the sum and for its gradient: its weight, and the
// same number for all. A row of weight 0 does not exist.
template <class T>
struct RowWeights {
  const T* weights = nullptr;  // (rows) or null: all 1
  T overall = 1;               // for the gradient only

  FASTLOSS_HOST_DEVICE T weight(int64_t row) const {
    return weights != nullptr ? weights[row] : T(1);
  }
  FASTLOSS_HOST_DEVICE T factor(int64_t row) const { return overall * weight(row); }
};

// Gradients of Σ_b factor(b) · L_b; null: not wanted.
template <class T>
struct SampledGradients {
  T* positive = nullptr;    // (rows, positives)
  T* negative = nullptr;    // (rows, negatives)
  double* scale = nullptr;  // (rows): each row's ∂/∂scale

  bool any() const { return positive != nullptr || negative != nullptr || scale != nullptr; }
};

}  // namespace fastloss
