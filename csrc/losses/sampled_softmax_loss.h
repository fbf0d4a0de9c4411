// Softmax cross-entropy of a positive score against sampled negatives, one row.
//
// Scores are z = s / τ − log q. As in info_nce.h the positive stays out of the row's sum
// N = log Σ_j exp z_j over the negatives:
//     L = softplus(N − z₊),      ∂L/∂z₊ = −σ(N − z₊),      ∂L/∂z_j = σ(N − z₊) exp(z_j − N),
// because 1 − p₊ = σ(N − z₊) is shared out among the negatives as the softmax of the negatives
// alone. Without a negative (N = −inf) the loss and all derivatives are 0.
#pragma once

#include "core/lse.h"

namespace fastloss {

template <class T>
struct SampledSoftmaxLoss {
  struct Row {
    T value;
    T dpositive;
    T share;  // ∂L/∂z_j = share · exp(z_j − max)
  };

  // Branch-free: rows side by side are finished in one loop.
  FASTLOSS_HOST_DEVICE static Row finish(const LseState<T>& negatives, T positive) {
    const auto both = math::logistic((negatives.max - positive) + math::log(negatives.sum));
    const bool none = negatives.sum == T(0);
    return {!none                  ? both.softplus
            : positive != positive ? positive
                                   : T(0),
            none ? T(0) : -both.sigmoid, none ? T(0) : both.sigmoid / negatives.sum};
  }
};

}  // namespace fastloss
