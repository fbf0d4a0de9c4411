"""Distances and hinges, written as their definitions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..similarity import SIMILARITIES, unit_rows


def distance(x: Tensor, y: Tensor, similarity: str, p: float = 2.0, eps: float = 0.0) -> Tensor:
    """Distance of rows along the last dimension: 1 − cosine, or minus the similarity.

    `p` is the norm of "euclidean"; `eps` is added to the difference.
    """
    if similarity == "cosine":
        return 1 - (unit_rows(x) * unit_rows(y)).sum(-1)
    if similarity == "dot":
        return -(x * y).sum(-1)
    difference = x - y + eps
    if similarity == "sqeuclidean":
        return difference.square().sum(-1)
    if similarity == "euclidean":
        return _norm(difference, p)
    raise ValueError(f"similarity must be one of {SIMILARITIES}, got {similarity!r}")


def _norm(difference: Tensor, p: float) -> Tensor:
    """Gradient 0 at 0. Divided by the largest entry first: powers neither overflow nor vanish."""
    largest = difference.detach().abs().amax(-1, keepdim=True)
    largest = torch.where((largest == 0) | largest.isinf(), 1.0, largest)
    powers = (difference / largest).abs().pow(p).sum(-1)
    is_zero = powers == 0
    # The inner where keeps the root's slope at 0 out of the backward pass: 0 · inf would be NaN.
    root = torch.where(is_zero, 1.0, powers).pow(1 / p)
    return torch.where(is_zero, 0.0, largest.squeeze(-1) * root)


def hinged(gap: Tensor, hinge: str) -> Tensor:
    """What makes a loss of a gap that should be negative."""
    if hinge == "relu":
        return F.relu(gap)
    if hinge == "softplus":
        return -F.logsigmoid(-gap)
    if hinge == "none":
        return gap
    raise ValueError(f'hinge must be "relu", "softplus" or "none", got {hinge!r}')
