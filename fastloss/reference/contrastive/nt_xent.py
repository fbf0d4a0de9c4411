"""NT-Xent by its definition."""

from __future__ import annotations

import torch
from torch import Tensor

from ..logarithms import logsumexp_where, relative_to_largest, softplus
from ..reduction import reduce_rows
from ..similarity import pairwise_similarity


def nt_xent(
    view1: Tensor,
    view2: Tensor,
    *,
    queue: Tensor | None = None,
    temperature: float | Tensor = 0.5,
    similarity: str = "cosine",
    decoupled: bool = False,
    weights: Tensor | None = None,
    group: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.nt_xent`, which documents the arguments.

    Stores all 2n · (2n + k) scores, for the Euclidean similarities also as many times d
    differences. Gradients come from autograd and may be differentiated again.
    """
    if group is not None:
        raise NotImplementedError("nt_xent: group is not implemented")
    rows = torch.cat([view1, view2])
    candidates = rows if queue is None else torch.cat([rows, queue])
    scores = pairwise_similarity(rows, candidates, similarity) / temperature
    loss, counts = rows_of_scores(scores, decoupled)
    weights = None if weights is None else torch.cat([weights, weights])
    return reduce_rows(loss, counts, weights, reduction)


def rows_of_scores(scores: Tensor, decoupled: bool) -> tuple[Tensor, Tensor]:
    """Loss of every row, and whether there is one; 2n rows against themselves and the queue."""
    rows = len(scores)
    is_itself = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    positive = torch.arange(rows, device=scores.device).roll(rows // 2)[:, None]
    scores = relative_to_largest(scores, ~is_itself)
    is_other = ~is_itself.scatter(1, positive, True)
    gap = logsumexp_where(is_other, scores) - scores.gather(1, positive).squeeze(1)
    if decoupled:
        return gap, is_other.any(1)
    return softplus(gap), torch.ones_like(gap, dtype=torch.bool)
