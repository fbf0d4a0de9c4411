"""Contrastive losses: queries against keys."""

from .clip_loss import clip_loss
from .info_nce import info_nce
from .linear_cross_entropy import linear_cross_entropy
from .pairwise_logsumexp import pairwise_logsumexp

__all__ = ["clip_loss", "info_nce", "linear_cross_entropy", "pairwise_logsumexp"]
