"""Losses of the scores of two embedding sets."""

from .clip_loss import clip_loss
from .in_batch_bpr_loss import in_batch_bpr_loss
from .in_batch_hinge_loss import in_batch_hinge_loss
from .info_nce import info_nce
from .linear_cross_entropy import linear_cross_entropy
from .nt_xent import nt_xent
from .pairwise_logsumexp import pairwise_logsumexp
from .siglip_loss import siglip_loss
from .sup_con import sup_con

__all__ = [
    "clip_loss",
    "in_batch_bpr_loss",
    "in_batch_hinge_loss",
    "info_nce",
    "linear_cross_entropy",
    "nt_xent",
    "pairwise_logsumexp",
    "siglip_loss",
    "sup_con",
]
