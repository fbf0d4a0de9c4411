"""Definitions of the losses of metric learning."""

from .batch_hard_triplet_loss import batch_hard_triplet_loss
from .contrastive_loss import contrastive_loss
from .labelled_triplet_loss import labelled_triplet_loss
from .pairwise_contrastive_loss import pairwise_contrastive_loss
from .triplet_margin_loss import triplet_margin_loss

__all__ = [
    "batch_hard_triplet_loss",
    "contrastive_loss",
    "labelled_triplet_loss",
    "pairwise_contrastive_loss",
    "triplet_margin_loss",
]
