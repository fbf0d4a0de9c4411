"""The candidates of every anchor by their labels, and their distances."""

from __future__ import annotations

import torch
from torch import Tensor

from ..similarity import pairwise_similarity
from ._distance import distance


def distances(embeddings: Tensor, ref_embeddings: Tensor | None, similarity: str) -> Tensor:
    """Every anchor (n, d) against every candidate (m, d): (n, m)."""
    candidates = embeddings if ref_embeddings is None else ref_embeddings
    if similarity in ("cosine", "dot"):
        # Summed in one order in every column, which a matrix product does not promise: equal rows
        # are equally far.
        return distance(embeddings[:, None], candidates[None], similarity)
    return -pairwise_similarity(embeddings, candidates, similarity)


def positives_and_negatives(labels: Tensor, ref_labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Two masks (n, m); of one set, an anchor is neither of its own."""
    if ref_labels is None:
        same = labels[:, None] == labels
        return same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~same
    same = labels[:, None] == ref_labels
    return same, ~same


def mean_or_sums(terms: Tensor, counted: Tensor, reduction: str) -> Tensor:
    """Reduce (n, …) terms, those of row i belonging to anchor i, to "mean", "sum" or "none".

    The mean divides by how many are `counted`; by 1 where none is: their sum is 0.
    """
    if reduction == "none":
        return terms.flatten(1).sum(1)
    if reduction == "sum":
        return terms.sum()
    if reduction == "mean":
        return terms.sum() / counted.sum().clamp(min=1)
    raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
