// Every pairwise loss, one line each: X(stem, functor). The engine instantiates itself for these.
// The losses of scores are instantiated where their engines meet torch
// (engines/pointwise_torch.cpp, engines/sampled_torch.cpp).
#pragma once

#include "losses/clip_loss.h"
#include "losses/info_nce.h"
#include "losses/linear_cross_entropy.h"
#include "losses/pairwise_logsumexp.h"

#define FASTLOSS_PAIRWISE_LOSSES(X)           \
  X(clip_loss, ClipLoss)                      \
  X(info_nce, InfoNce)                        \
  X(linear_cross_entropy, LinearCrossEntropy) \
  X(pairwise_logsumexp, PairwiseLogSumExp)
