"""Definitions of the losses of metric learning."""

from .batch_all_triplet_loss import batch_all_triplet_loss
from .semi_hard_triplet_loss import semi_hard_triplet_loss
from .triplet_statistics import triplet_statistics

__all__ = ["batch_all_triplet_loss", "semi_hard_triplet_loss", "triplet_statistics"]
