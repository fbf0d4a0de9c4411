"""Contrastive loss of labelled pairs by its definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reduction import reduce_rows
from ._distance import distance


def contrastive_loss(
    x1: Tensor,
    x2: Tensor,
    label: Tensor,
    *,
    margin: float = 1.0,
    similar_label: int = 1,
    negative_term: str = "margin_minus_d_sq",
    scale: float = 0.5,
    similarity: str = "euclidean",
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.contrastive_loss`, see there.

    Stores every difference. Gradients come from autograd and may be differentiated again.
    """
    d = distance(x1, x2, similarity)
    if negative_term == "margin_minus_d_sq":
        similar, dissimilar = d.square(), F.relu(margin - d).square()
    elif negative_term == "margin_sq_minus_d_sq":
        similar, dissimilar = d.square(), F.relu(margin**2 - d.square())
    elif negative_term == "linear":
        similar, dissimilar = d, F.relu(margin - d)
    elif negative_term == "as_published":
        similar, dissimilar = F.relu(d.square() - margin**2), d.square()
    else:
        raise ValueError(f"negative_term is unknown: {negative_term!r}")
    rows = scale * torch.where(label == similar_label, similar, dissimilar)
    return reduce_rows(rows, torch.ones_like(rows, dtype=torch.bool), None, reduction)
