"""Metric learning: embeddings nearer to or farther from each other, by a margin."""

from .batch_all_triplet_loss import batch_all_triplet_loss
from .semi_hard_triplet_loss import semi_hard_triplet_loss
from .triplet_statistics import TripletStatistics, triplet_statistics

__all__ = [
    "TripletStatistics",
    "batch_all_triplet_loss",
    "semi_hard_triplet_loss",
    "triplet_statistics",
]
