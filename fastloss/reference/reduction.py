"""From one loss a row, or an element, to the result."""

from __future__ import annotations

import torch
from torch import Tensor


def reduce_rows(loss: Tensor, counts: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    """Weighted "mean", "sum" or "none" over the rows (n,) where `counts` is True.

    Rows that do not count give 0 and their weight leaves the divisor of the mean. So do rows of
    weight 0, whatever their loss. A divisor of 0 gives 0: nothing to average.
    """
    weights = counts.to(loss.dtype) if weights is None else counts * weights
    loss = torch.where(weights == 0, 0.0, loss) * weights
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        total = weights.sum()
        return loss.sum() / torch.where(total == 0, 1.0, total)
    raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')


def without_unweighted(scores: Tensor, weights: Tensor | None, stand_in: float) -> Tensor:
    """The scores, with a stand-in where the weight is 0: not even their NaN enters a gradient."""
    if weights is None:
        return scores
    return torch.where(weights.expand_as(scores) == 0, stand_in, scores)


def reduce_elements(
    loss: Tensor, weights: Tensor | None, reduction: str, *, divide_by_weights: bool
) -> Tensor:
    """Weighted "mean", "sum" or "none" over all elements; `weights` may be repeated to their shape.

    Elements of weight 0 give 0, whatever their loss. A mean divides by the number of elements or,
    if asked, by the sum of the weights; a divisor of 0 gives 0: nothing to average.
    """
    weights = torch.ones_like(loss) if weights is None else weights.to(loss.dtype).expand_as(loss)
    loss = torch.where(weights == 0, 0.0, loss) * weights
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        total = weights.sum() if divide_by_weights else loss.new_tensor(float(loss.numel()))
        return loss.sum() / torch.where(total == 0, 1.0, total)
    raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
