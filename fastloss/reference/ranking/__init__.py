"""Definitions of the ranking losses."""

from .bpr_loss import bpr_loss
from .hinge_loss import hinge_loss
from .pairwise_margin_loss import pairwise_margin_loss
from .sampled_softmax_loss import sampled_softmax_loss

__all__ = ["bpr_loss", "hinge_loss", "pairwise_margin_loss", "sampled_softmax_loss"]
