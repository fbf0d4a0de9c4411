"""Contrastive loss of all pairs by its definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._candidates import distances, mean_or_sums


def pairwise_contrastive_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    negative_term: str = "margin_minus_d_sq",
    scale: float = 0.5,
    similarity: str = "euclidean",
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.pairwise_contrastive_loss`, see there.

    Stores all n² or n · k distances, for the Euclidean ones also as many times d differences.
    Gradients come from autograd and may be differentiated again.
    """
    d = distances(embeddings, ref_embeddings, similarity)
    terms, counted = terms_of_distances(d, labels, ref_labels, margin, negative_term)
    return mean_or_sums(scale * terms, counted, reduction)


def terms_of_distances(
    d: Tensor, labels: Tensor, ref_labels: Tensor | None, margin: float, negative_term: str
) -> tuple[Tensor, Tensor]:
    """The unscaled loss of every pair, (n, m), at the earlier row of the two, and where it is."""
    counted = torch.ones_like(d, dtype=torch.bool)
    if ref_labels is None:
        counted = counted.triu(1)
    similar = labels[:, None] == (labels if ref_labels is None else ref_labels)
    d = torch.where(counted, d, 0.0)
    if negative_term == "margin_minus_d_sq":
        attract, repel = d.square(), F.relu(margin - d).square()
    elif negative_term == "margin_sq_minus_d_sq":
        attract, repel = d.square(), F.relu(margin**2 - d.square())
    elif negative_term == "linear":
        attract, repel = d, F.relu(margin - d)
    elif negative_term == "as_published":
        attract, repel = F.relu(d.square() - margin**2), d.square()
    else:
        raise ValueError(f"negative_term is unknown: {negative_term!r}")
    return torch.where(counted, torch.where(similar, attract, repel), 0.0), counted
