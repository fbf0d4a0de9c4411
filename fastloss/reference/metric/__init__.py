"""Definitions of the losses of metric learning."""

from .contrastive_loss import contrastive_loss
from .labelled_triplet_loss import labelled_triplet_loss
from .triplet_margin_loss import triplet_margin_loss

__all__ = ["contrastive_loss", "labelled_triplet_loss", "triplet_margin_loss"]
