"""ListNet's top-one loss by its definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .lists import as_lists, reduce_lists


def listnet_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    target: str = "softmax",
    label_temperature: float = 1.0,
    gain: str = "exp2",
    where: Tensor | None = None,
    offsets: Tensor | None = None,
    list_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.listnet_loss`, which documents the arguments.

    Gradients come from autograd and may be differentiated again.
    """
    lists = as_lists(scores, labels, where, offsets, None)
    y, valid = lists.labels, lists.valid
    has_items = valid.any(1)
    # An empty list gets finite stand-ins, so that no NaN enters its (zero) gradient.
    counts = valid | ~has_items[:, None]
    if target == "softmax":
        p = (y / label_temperature).masked_fill(~counts, -math.inf).softmax(1)
    elif target == "normalize":
        total = y.sum(1, keepdim=True)
        p = y / torch.where(total == 0, 1.0, total)
    elif target == "raw":
        p = y
    elif target == "gain":
        p = torch.exp2(y) - 1 if gain == "exp2" else y
    else:
        raise ValueError(f"unknown target {target!r}")
    p = torch.where(valid, p, 0.0)
    if lists.scores.shape[1] == 0:
        values = lists.scores.sum(1)
    else:
        lse = lists.scores.masked_fill(~counts, -math.inf).logsumexp(1, keepdim=True)
        taken = p != 0  # a target of 0 costs nothing, not even at a score of −inf
        values = torch.where(taken, p * (lse - lists.scores), 0.0).sum(1)
    values = torch.where(lists.has_nan, math.nan, values)
    return reduce_lists(values, has_items.to(values.dtype), list_weights, reduction)
