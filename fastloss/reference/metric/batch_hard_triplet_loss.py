"""Batch-hard triplet loss by its definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..reduction import reduce_rows
from ._candidates import distances, positives_and_negatives
from ._distance import hinged


def batch_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    similarity: str = "euclidean",
    hinge: str = "relu",
    anchors: str = "valid",
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.batch_hard_triplet_loss`, see there.

    Stores all n² or n · k distances, for the Euclidean ones also as many times d differences.
    Gradients come from autograd and may be differentiated again.
    """
    of_pairs = distances(embeddings, ref_embeddings, similarity)
    loss, counts = rows_of_distances(of_pairs, labels, ref_labels, margin, hinge, anchors)
    return reduce_rows(loss, counts, None, reduction)


def rows_of_distances(
    of_pairs: Tensor,
    labels: Tensor,
    ref_labels: Tensor | None,
    margin: float,
    hinge: str,
    anchors: str,
) -> tuple[Tensor, Tensor]:
    """Loss of every anchor, and whether it counts."""
    is_positive, is_negative = positives_and_negatives(labels, ref_labels)
    d_positive, has_positive = _hardest(of_pairs, is_positive, 1)
    d_negative, has_negative = _hardest(of_pairs, is_negative, -1)
    has_loss = has_negative & (has_positive | (anchors == "all"))
    rows = torch.where(has_loss, hinged(d_positive - d_negative + margin, hinge), 0.0)
    if anchors == "valid":
        return rows, has_loss
    if anchors == "all":
        return rows, torch.ones_like(has_loss)
    raise ValueError(f'anchors must be "valid" or "all", got {anchors!r}')


def _hardest(of_pairs: Tensor, mask: Tensor, sign: int) -> tuple[Tensor, Tensor]:
    """The largest distance of a row where the mask is True (sign −1: the smallest), 0 without one.

    argmax takes the lowest index of equal ones, and a NaN before anything else.
    """
    has_any = mask.any(1)
    if mask.shape[1] == 0:
        return of_pairs.sum(1), has_any
    kept = torch.where(mask, sign * of_pairs.detach(), -math.inf)
    chosen = kept.argmax(1, keepdim=True)
    # A row of infinities alone would leave the mask.
    chosen = torch.where(mask.gather(1, chosen), chosen, mask.int().argmax(1, keepdim=True))
    return torch.where(has_any, of_pairs.gather(1, chosen).squeeze(1), 0.0), has_any
