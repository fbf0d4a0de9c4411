"""The executable definitions: every loss of fastloss in plain, differentiable torch.

Each function has the signature of its fast counterpart and the same meaning, in any floating
dtype, with gradients by autograd. It stores every score and every pair, so its memory grows with
n · m: use it to understand a loss or to check a result, not to train on large batches. Arguments
are not checked beyond what torch checks.
"""

from .contrastive import clip_loss, info_nce, linear_cross_entropy, pairwise_logsumexp
from .ranking import listnet_loss, pairwise_hinge_loss, ranknet_loss

__all__ = [
    "clip_loss",
    "info_nce",
    "linear_cross_entropy",
    "listnet_loss",
    "pairwise_hinge_loss",
    "pairwise_logsumexp",
    "ranknet_loss",
]
