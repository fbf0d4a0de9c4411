"""Every positive of a row against each of its negatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def reduce_pairs(
    loss_of_gap: Callable[[Tensor], Tensor],
    positive: Tensor,
    negative: Tensor,
    positive_where: Tensor | None,
    negative_where: Tensor | None,
    weights: Tensor | None,
    reduction: str,
) -> Tensor:
    """Reduce the losses of the gaps negative − positive, (b, p, n) of them.

    Scores that are masked, and rows of weight 0, get a finite stand-in, so that nothing of them
    enters the loss or a gradient.
    """
    positive, positive_where = _columns(positive, positive_where)
    negative, negative_where = _columns(negative, negative_where)
    weights = positive.new_ones(len(positive)) if weights is None else weights.to(positive.dtype)
    taken = (weights != 0)[:, None]
    positive = torch.where(positive_where & taken, positive, 0.0)
    negative = torch.where(negative_where & taken, negative, 0.0)
    pairs = positive_where[:, :, None] & negative_where[:, None, :] & taken[:, :, None]
    gaps = negative[:, None, :] - positive[:, :, None]
    rows = weights * torch.where(pairs, loss_of_gap(gaps), 0.0).sum((1, 2))
    if reduction == "none":
        return rows
    if reduction == "sum":
        return rows.sum()
    if reduction == "mean":
        count = (weights * pairs.sum((1, 2))).sum()
        return rows.sum() / torch.where(count == 0, 1.0, count)
    raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')


def _columns(scores: Tensor, where: Tensor | None) -> tuple[Tensor, Tensor]:
    where = torch.ones_like(scores, dtype=torch.bool) if where is None else where
    return (scores[:, None], where[:, None]) if scores.dim() == 1 else (scores, where)
