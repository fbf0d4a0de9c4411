"""Ranking losses: the items of a list by their scores."""

from .listnet_loss import listnet_loss
from .pairwise_hinge_loss import pairwise_hinge_loss
from .ranknet_loss import ranknet_loss

__all__ = ["listnet_loss", "pairwise_hinge_loss", "ranknet_loss"]
