// Margin loss against all other keys of the batch: in_batch_loss.h with ℓ(g) = max(0, μ + g), whose
// derivative at the kink is 0.
#pragma once

#include "losses/in_batch_loss.h"
#include "losses/pairwise_margin_loss.h"

namespace fastloss {

template <class T>
struct InBatchHingeLoss : InBatchLoss<T, PairwiseMarginLoss<T>> {
  static constexpr int kOptions = 1;
  static InBatchHingeLoss make(const double* options, const T* /*key_weight*/) {
    return {{{static_cast<T>(options[0])}}};
  }
};

}  // namespace fastloss
