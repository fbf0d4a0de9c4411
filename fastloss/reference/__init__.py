"""The executable definitions: every loss of fastloss in plain, differentiable torch.

Each function has the signature of its fast counterpart and the same meaning, in any floating
dtype, with gradients by autograd. It stores every score and every pair, so its memory grows with
n · m: use it to understand a loss or to check a result, not to train on large batches. Arguments
are not checked beyond what torch checks.
"""

from .contrastive import (
    clip_loss,
    in_batch_bpr_loss,
    in_batch_hinge_loss,
    info_nce,
    linear_cross_entropy,
    nt_xent,
    pairwise_logsumexp,
    siglip_loss,
    sup_con,
)
from .metric import (
    batch_all_triplet_loss,
    batch_hard_triplet_loss,
    contrastive_loss,
    labelled_triplet_loss,
    pairwise_contrastive_loss,
    semi_hard_triplet_loss,
    triplet_margin_loss,
    triplet_statistics,
)
from .pointwise import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div_with_logits,
)
from .ranking import (
    bpr_loss,
    hinge_loss,
    listnet_loss,
    pairwise_hinge_loss,
    pairwise_margin_loss,
    ranknet_loss,
    sampled_softmax_loss,
)

__all__ = [
    "batch_all_triplet_loss",
    "batch_hard_triplet_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "bpr_loss",
    "clip_loss",
    "contrastive_loss",
    "cross_entropy",
    "hinge_loss",
    "in_batch_bpr_loss",
    "in_batch_hinge_loss",
    "info_nce",
    "kl_div_with_logits",
    "labelled_triplet_loss",
    "linear_cross_entropy",
    "listnet_loss",
    "nt_xent",
    "pairwise_contrastive_loss",
    "pairwise_hinge_loss",
    "pairwise_logsumexp",
    "pairwise_margin_loss",
    "ranknet_loss",
    "sampled_softmax_loss",
    "semi_hard_triplet_loss",
    "siglip_loss",
    "sup_con",
    "triplet_margin_loss",
    "triplet_statistics",
]
