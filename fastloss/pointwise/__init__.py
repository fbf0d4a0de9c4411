"""Losses of single scores, and of rows of logits against a target."""

from .binary_cross_entropy import binary_cross_entropy
from .binary_cross_entropy_with_logits import binary_cross_entropy_with_logits
from .cross_entropy import cross_entropy
from .kl_div_with_logits import kl_div_with_logits

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "kl_div_with_logits",
]
