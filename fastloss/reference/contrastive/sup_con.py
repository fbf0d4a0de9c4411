"""SupCon by its definition."""

from __future__ import annotations

import torch
from torch import Tensor

from ..logarithms import logsumexp_where, relative_to_largest, softplus
from ..reduction import reduce_rows
from ..similarity import pairwise_similarity


def sup_con(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    temperature: float | Tensor = 0.07,
    similarity: str = "cosine",
    weights: Tensor | None = None,
    group: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.sup_con`, which documents the arguments.

    Stores all n² or n · k scores, for the Euclidean similarities also as many times d differences.
    Gradients come from autograd and may be differentiated again.
    """
    if group is not None:
        raise NotImplementedError("sup_con: group is not implemented")
    candidates = embeddings if ref_embeddings is None else ref_embeddings
    scores = pairwise_similarity(embeddings, candidates, similarity) / temperature
    loss, counts = rows_of_scores(scores, labels, ref_labels)
    return reduce_rows(loss, counts, weights, reduction)


def rows_of_scores(
    scores: Tensor, labels: Tensor, ref_labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Loss of every row, and whether it has a positive; without references, against each other."""
    is_candidate = torch.ones_like(scores, dtype=torch.bool)
    if ref_labels is None:
        is_candidate.fill_diagonal_(False)
        ref_labels = labels
    is_positive = (labels[:, None] == ref_labels) & is_candidate
    count = is_positive.sum(1)
    has_positive = count > 0
    scores = relative_to_largest(scores, is_candidate)
    # log Σ exp over all candidates − mean of the positives: the mean is at most log Σ exp of the
    # positives, which is at most that of all. A small loss keeps its digits in these two steps.
    others = logsumexp_where(is_candidate & ~is_positive, scores)
    gap = torch.where(has_positive, others - logsumexp_where(is_positive, scores), 0.0)
    # Of a lone positive this is 0 with slope 0. The copy sums that slope, 1 − 1, on its own.
    copy = scores.clone()
    spread = torch.where(is_positive, logsumexp_where(is_positive, copy)[:, None] - copy, 0.0)
    return softplus(gap) + spread.sum(1) / count.clamp(min=1), has_positive
