"""The loss of semi-hard triplets by its definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._candidates import distances, mean_or_sums, positives_and_negatives


def semi_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    similarity: str = "euclidean",
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.semi_hard_triplet_loss`, see there.

    Stores n · m² comparisons, for the Euclidean similarities also n · m · d differences. Gradients
    come from autograd and may be differentiated again.
    """
    return loss_of_distances(
        distances(embeddings, ref_embeddings, similarity),
        *positives_and_negatives(labels, ref_labels),
        margin=margin,
        reduction=reduction,
    )


def loss_of_distances(
    distance: Tensor, positive: Tensor, negative: Tensor, *, margin: float, reduction: str
) -> Tensor:
    if distance.shape[1] == 0:
        return mean_or_sums(distance, positive, reduction)
    # Anchor, positive, negative; of equal distances argmin and argmax take the first.
    each = distance.detach()[:, None, :].expand(*distance.shape, -1)
    farther = negative[:, None, :] & (each > distance.detach()[:, :, None])
    nearest = each.masked_fill(~farther, math.inf).argmin(2)
    farthest = each.masked_fill(~negative[:, None, :], -math.inf).argmax(2)
    chosen = torch.where(farther.any(2), nearest, farthest)
    gap = distance - distance.gather(1, chosen) + margin
    terms = torch.where(gap <= 0, 0.0, gap)
    # A NaN among the negatives may have been chosen or not.
    is_nan = (distance.isnan() & negative).any(1, keepdim=True)
    terms = torch.where(is_nan, math.nan, terms)
    valid = positive & negative.any(1, keepdim=True)
    return mean_or_sums(torch.where(valid, terms, 0.0), valid, reduction)
