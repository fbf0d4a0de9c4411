"""Metric learning: embeddings nearer to or farther from each other, by a margin."""

from .batch_all_triplet_loss import batch_all_triplet_loss
from .batch_hard_triplet_loss import batch_hard_triplet_loss
from .contrastive_loss import contrastive_loss
from .labelled_triplet_loss import labelled_triplet_loss
from .pairwise_contrastive_loss import pairwise_contrastive_loss
from .semi_hard_triplet_loss import semi_hard_triplet_loss
from .triplet_margin_loss import triplet_margin_loss
from .triplet_statistics import TripletStatistics, triplet_statistics

__all__ = [
    "TripletStatistics",
    "batch_all_triplet_loss",
    "batch_hard_triplet_loss",
    "contrastive_loss",
    "labelled_triplet_loss",
    "pairwise_contrastive_loss",
    "semi_hard_triplet_loss",
    "triplet_margin_loss",
    "triplet_statistics",
]
