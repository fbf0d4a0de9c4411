"""Triplet margin loss by its definition."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reduction import reduce_rows, without_unweighted
from ._distance import distance, hinged


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    similarity: str = "euclidean",
    p: float = 2.0,
    eps: float = 0.0,
    swap: bool = False,
    hinge: str = "relu",
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.triplet_margin_loss`, see there.

    Stores every difference. Gradients come from autograd and may be differentiated again.
    """
    negative = negative[:, None] if negative.dim() == 2 else negative
    # (n, 1, d) beside the (n, h, d) negatives.
    anchor, positive, negative = (
        without_unweighted(x, None if weights is None else weights[:, None, None], 0.0)
        for x in (anchor[:, None], positive[:, None], negative)
    )
    d_positive = distance(anchor, positive, similarity, p, eps)
    d_negative = distance(anchor, negative, similarity, p, eps)
    if swap:
        other = distance(positive, negative, similarity, p, eps)
        d_negative = torch.where(other < d_negative, other, d_negative)
    rows = hinged(d_positive - d_negative + margin, hinge).sum(1)
    if reduction == "mean":  # over triplets
        rows = rows / max(1, negative.shape[1])
    return reduce_rows(rows, torch.ones_like(rows, dtype=torch.bool), weights, reduction)
