// Every loss of an engine that instantiates itself, one line each: X(stem, functor).
// The losses of scores, those of rows against rows and those of chosen triplets are instantiated
// where their engines meet torch (engines/elements_torch.cpp, engines/sampled_torch.cpp,
// engines/rowwise_torch.cpp, engines/chosen_triplets_torch.cpp).
#pragma once

#include "losses/batch_all_triplet_loss.h"
#include "losses/clip_loss.h"
#include "losses/in_batch_bpr_loss.h"
#include "losses/in_batch_hinge_loss.h"
#include "losses/info_nce.h"
#include "losses/linear_cross_entropy.h"
#include "losses/listnet_loss.h"
#include "losses/nt_xent.h"
#include "losses/pairwise_contrastive_loss.h"
#include "losses/pairwise_hinge_loss.h"
#include "losses/pairwise_logsumexp.h"
#include "losses/ranknet_loss.h"
#include "losses/semi_hard_triplet_loss.h"
#include "losses/siglip_loss.h"
#include "losses/sup_con.h"

#define FASTLOSS_PAIRWISE_LOSSES(X)           \
  X(clip_loss, ClipLoss)                      \
  X(in_batch_bpr_loss, InBatchBprLoss)        \
  X(in_batch_hinge_loss, InBatchHingeLoss)    \
  X(info_nce, InfoNce)                        \
  X(linear_cross_entropy, LinearCrossEntropy) \
  X(pairwise_logsumexp, PairwiseLogSumExp)    \
  X(siglip_loss, SigLipLoss)

#define FASTLOSS_SELF_LOSSES(X)                         \
  X(nt_xent, NtXent)                                    \
  X(pairwise_contrastive_loss, PairwiseContrastiveLoss) \
  X(sup_con, SupCon)

#define FASTLOSS_LISTWISE_LOSSES(X)         \
  X(listnet_loss, ListNetLoss)              \
  X(pairwise_hinge_loss, PairwiseHingeLoss) \
  X(ranknet_loss, RankNetLoss)

#define FASTLOSS_LABELLED_LOSSES(X)              \
  X(batch_all_triplet_loss, BatchAllTripletLoss) \
  X(semi_hard_triplet_loss, SemiHardTripletLoss)
