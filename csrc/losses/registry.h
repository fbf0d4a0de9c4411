// Every loss of an engine that instantiates itself, one line each: X(stem, functor).
// The losses of scores are instantiated where their engines meet torch
// (engines/pointwise_torch.cpp, engines/sampled_torch.cpp).
#pragma once

#include "losses/batch_all_triplet_loss.h"
#include "losses/clip_loss.h"
#include "losses/info_nce.h"
#include "losses/linear_cross_entropy.h"
#include "losses/listnet_loss.h"
#include "losses/pairwise_hinge_loss.h"
#include "losses/pairwise_logsumexp.h"
#include "losses/ranknet_loss.h"
#include "losses/semi_hard_triplet_loss.h"

#define FASTLOSS_PAIRWISE_LOSSES(X)           \
  X(clip_loss, ClipLoss)                      \
  X(info_nce, InfoNce)                        \
  X(linear_cross_entropy, LinearCrossEntropy) \
  X(pairwise_logsumexp, PairwiseLogSumExp)

#define FASTLOSS_LISTWISE_LOSSES(X)         \
  X(listnet_loss, ListNetLoss)              \
  X(pairwise_hinge_loss, PairwiseHingeLoss) \
  X(ranknet_loss, RankNetLoss)

#define FASTLOSS_LABELLED_LOSSES(X)              \
  X(batch_all_triplet_loss, BatchAllTripletLoss) \
  X(semi_hard_triplet_loss, SemiHardTripletLoss)
