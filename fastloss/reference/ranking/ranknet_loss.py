"""RankNet by its definition."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from .lists import as_lists, pairs_of, reduce_lists, score_gaps, sum_of_pairs


def ranknet_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    sigma: float = 1.0,
    ties: str = "skip",
    pair_weight: str = "none",
    method: str = "auto",
    log_base: float | None = None,
    where: Tensor | None = None,
    offsets: Tensor | None = None,
    weights: Tensor | None = None,
    list_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.ranknet_loss`, which documents the arguments.

    Stores all l² pairs of every list; `method` makes no difference here. Gradients come from
    autograd and may be differentiated again.
    """
    lists = as_lists(scores, labels, where, offsets, weights)
    higher, label_difference, tied = pairs_of(lists)
    w = lists.weights
    counts = higher * w[:, :, None]  # a pair weighs what its higher-labelled item weighs
    losses = -F.logsigmoid(sigma * score_gaps(lists, higher))
    if ties == "half":
        counts = counts + tied * (w[:, :, None] + w[:, None, :]) / 2
        gap = sigma * score_gaps(lists, tied)
        losses = losses * higher - tied * (F.logsigmoid(gap) + F.logsigmoid(-gap)) / 2
    pair_weights = counts * label_difference if pair_weight == "label_diff" else counts
    values = sum_of_pairs(lists, losses, pair_weights)
    if log_base is not None:
        values = values / math.log(log_base)
    return reduce_lists(values, counts.sum((1, 2)), list_weights, reduction)
