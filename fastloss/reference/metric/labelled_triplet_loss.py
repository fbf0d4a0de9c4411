"""Triplet loss whose label tells the positive, by its definition."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reduction import reduce_rows
from ._distance import distance, hinged


def labelled_triplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    label: Tensor,
    *,
    margin: float = 1.0,
    hinge: str = "relu",
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.labelled_triplet_loss`, see there.

    Stores every difference. Gradients come from autograd and may be differentiated again.
    """
    first = (label == 1)[:, None]
    near, far = torch.where(first, positive, negative), torch.where(first, negative, positive)
    together, near_far, anchor_far = (
        distance(x, y, "sqeuclidean") for x, y in ((near, anchor), (near, far), (anchor, far))
    )
    rows = hinged(2 * together - near_far - anchor_far + margin, hinge)
    return reduce_rows(rows, torch.ones_like(rows, dtype=torch.bool), None, reduction)
