// Every loss, one line each: X(stem, functor). The engines instantiate themselves for these.
#pragma once

#include "losses/binary_cross_entropy.h"
#include "losses/binary_cross_entropy_with_logits.h"
#include "losses/bpr_loss.h"
#include "losses/clip_loss.h"
#include "losses/cross_entropy.h"
#include "losses/hinge_loss.h"
#include "losses/info_nce.h"
#include "losses/kl_div_with_logits.h"
#include "losses/linear_cross_entropy.h"
#include "losses/pairwise_logsumexp.h"
#include "losses/pairwise_margin_loss.h"
#include "losses/sampled_softmax_loss.h"

#define FASTLOSS_PAIRWISE_LOSSES(X)           \
  X(clip_loss, ClipLoss)                      \
  X(info_nce, InfoNce)                        \
  X(linear_cross_entropy, LinearCrossEntropy) \
  X(pairwise_logsumexp, PairwiseLogSumExp)

// Losses of single scores (engines/pointwise.h).
#define FASTLOSS_ELEMENT_LOSSES(X)                            \
  X(binary_cross_entropy, BinaryCrossEntropy)                 \
  X(binary_cross_entropy_with_logits, BinaryCrossEntropyWithLogits) \
  X(hinge_loss, HingeLoss)
