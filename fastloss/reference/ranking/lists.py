"""Lists of items in one form, and from one value a list to the result."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Lists(NamedTuple):
    """b lists side by side, each (b, l); what is not `valid` is 0 in the others."""

    scores: Tensor
    labels: Tensor
    weights: Tensor  # 1 where none were given
    valid: Tensor  # which places hold an item
    has_nan: Tensor  # (b,), whether an item's score or label is NaN


def as_lists(
    scores: Tensor,
    labels: Tensor,
    where: Tensor | None,
    offsets: Tensor | None,
    weights: Tensor | None,
) -> Lists:
    """Lay out padded, ragged or single lists alike. What `where` leaves out is not read."""
    if offsets is not None:
        place = torch.arange(int(offsets.diff().amax()) if len(offsets) > 1 else 0)
        place = place.to(offsets.device) + offsets[:-1, None]
        valid = place < offsets[1:, None]
        place = place.masked_fill(~valid, len(scores))

        def lay_out(flat: Tensor) -> Tensor:
            return torch.cat([flat, flat.new_zeros(1)])[place]

    else:
        valid = torch.ones_like(scores, dtype=torch.bool) if where is None else where
        valid = valid[None] if scores.dim() == 1 else valid

        def lay_out(flat: Tensor) -> Tensor:
            return flat[None] if flat.dim() == 1 else flat

    def kept(values: Tensor) -> Tensor:
        return torch.where(valid, lay_out(values).to(scores.dtype), 0.0)

    s, y = kept(scores), kept(labels)
    w = kept(torch.ones_like(scores) if weights is None else weights)
    return Lists(s, y, w, valid, (s.isnan() | y.isnan()).any(1))


def reduce_lists(
    values: Tensor, counts: Tensor, list_weights: Tensor | None, reduction: str
) -> Tensor:
    """Reduce the value and the count of every list, both (b,), by their list weights.

    "mean" divides all by all, "mean_list" each list by its own count first. A list of weight 0
    takes no part, whatever its value. A divisor of 0 gives 0: nothing to average.
    """
    weights = torch.ones_like(values) if list_weights is None else list_weights.to(values.dtype)
    if reduction == "mean_list":
        values = values / torch.where(counts == 0, 1.0, counts)
        counts = (counts > 0).to(values.dtype)
    values = torch.where(weights == 0, 0.0, values) * weights
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if reduction in ("mean", "mean_list"):
        total = (weights * counts).sum()
        return values.sum() / torch.where(total == 0, 1.0, total)
    raise ValueError(f'reduction must be "mean", "sum", "none" or "mean_list", got {reduction!r}')


def pairs_of(lists: Lists) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of a list as (b, l, l): which i has the higher label, by how much, which tie.

    A tied pair is marked once, at i < j.
    """
    difference = lists.labels[:, :, None] - lists.labels[:, None, :]
    both = lists.valid[:, :, None] & lists.valid[:, None, :]
    higher = both & (lists.labels[:, :, None] > lists.labels[:, None, :])
    tied = both & (lists.labels[:, :, None] == lists.labels[:, None, :])
    return higher, torch.where(higher, difference, 0.0), tied.triu(1)


def score_gaps(lists: Lists, pairs: Tensor) -> Tensor:
    """s_i − s_j of the pairs (b, l, l), 0 elsewhere."""
    return torch.where(pairs, lists.scores[:, :, None] - lists.scores[:, None, :], 0.0)


def sum_of_pairs(lists: Lists, losses: Tensor, pair_weights: Tensor) -> Tensor:
    """Weighted sum over the pairs of each list: (b,); NaN where an item is NaN."""
    losses = torch.where(pair_weights == 0, 0.0, losses) * pair_weights
    return torch.where(lists.has_nan, math.nan, losses.sum((1, 2)))
