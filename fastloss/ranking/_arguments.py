"""Checks of the arguments that all losses over lists share.

Values inside tensors (offsets that ascend, labels and weights that are not negative) are checked
by the operator, where a compiled graph is not broken by reading them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _checks

REDUCTIONS = ("mean", "sum", "none", "mean_list")
METHODS = ("auto", "pairs", "sorted")
PAIR_WEIGHTS = ("none", "label_diff")
GAINS = ("exp2", "linear")


def check_lists(
    op: str,
    scores: Tensor,
    labels: Tensor,
    where: Tensor | None,
    offsets: Tensor | None,
    weights: Tensor | None,
    list_weights: Tensor | None,
    reduction: str,
) -> None:
    """Check padded (b, l), ragged (t,) with offsets (b + 1,), or single (l,) lists."""
    _checks.floating(op, "scores", scores)
    if offsets is not None:
        _check_offsets(op, scores, offsets)
        if where is not None:
            raise ValueError(f"{op}: where must be None for lists given by offsets, got both")
    elif scores.dim() not in (1, 2):
        raise ValueError(
            f"{op}: scores must have shape (lists, items) or (items,), got {tuple(scores.shape)}"
        )
    items = tuple(scores.shape)
    _checks.beside(
        op, "labels", labels, scores, items, of="scores", why=" as scores", integer=True
    )  # fmt: skip
    if where is not None:
        _checks.mask(op, "where", where, scores, items, of="scores")
    if weights is not None:
        _checks.beside(op, "weights", weights, scores, items, of="scores", why=" as scores")
    if list_weights is not None:
        if offsets is not None:
            lists = offsets.shape[0] - 1
        else:
            lists = scores.shape[0] if scores.dim() == 2 else 1
        _checks.beside(
            op, "list_weights", list_weights, scores, (lists,), of="scores",
            why=", one number a list",
        )  # fmt: skip
    _checks.choice(op, "reduction", reduction, REDUCTIONS)


def _check_offsets(op: str, scores: Tensor, offsets: Tensor) -> None:
    if scores.dim() != 1:
        raise ValueError(
            f"{op}: scores must have shape (t,) for lists given by offsets, "
            f"got {tuple(scores.shape)}"
        )
    _checks.tensor(op, "offsets", offsets)
    if offsets.dtype != torch.int64:
        raise TypeError(f"{op}: offsets must be int64, got {offsets.dtype}")
    _checks.device(op, "offsets", offsets, scores, "scores")
    if offsets.dim() != 1 or offsets.shape[0] == 0:
        raise ValueError(f"{op}: offsets must have shape (lists + 1,), got {tuple(offsets.shape)}")
