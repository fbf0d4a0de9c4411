// Bayesian personalised ranking against all other keys of the batch: in_batch_loss.h with
// ℓ(g) = softplus(g).
#pragma once

#include "losses/bpr_loss.h"
#include "losses/in_batch_loss.h"

namespace fastloss {

template <class T>
struct InBatchBprLoss : InBatchLoss<T, BprLoss<T>> {
  static constexpr int kOptions = 0;
  static InBatchBprLoss make(const double* /*options*/, const T* /*key_weight*/) { return {}; }
};

}  // namespace fastloss
