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
_LABELS = (
    *(torch.float32, torch.float64, torch.bfloat16, torch.float16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


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
    _check_items(op, "labels", labels, scores)
    if labels.dtype not in _LABELS:
        raise TypeError(f"{op}: labels must be real numbers, got {labels.dtype}")
    _checks.no_grad(op, "labels", labels)
    if where is not None:
        _check_items(op, "where", where, scores)
        if where.dtype != torch.bool:
            raise TypeError(f"{op}: where must be boolean, got {where.dtype}")
    if weights is not None:
        _check_items(op, "weights", weights, scores)
        _check_weights(op, "weights", weights)
    if list_weights is not None:
        _checks.tensor(op, "list_weights", list_weights)
        _checks.device(op, "list_weights", list_weights, scores, "scores")
        if offsets is not None:
            lists = offsets.shape[0] - 1
        else:
            lists = scores.shape[0] if scores.dim() == 2 else 1
        _checks.shape(op, "list_weights", list_weights, (lists,), ", one number a list")
        _check_weights(op, "list_weights", list_weights)
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


def _check_items(op: str, name: str, value: object, scores: Tensor) -> None:
    value = _checks.tensor(op, name, value)
    _checks.device(op, name, value, scores, "scores")
    _checks.shape(op, name, value, tuple(scores.shape), " as scores")


def _check_weights(op: str, name: str, value: Tensor) -> None:
    if not value.dtype.is_floating_point:
        raise TypeError(f"{op}: {name} must be a floating tensor, got {value.dtype}")
    _checks.no_grad(op, name, value)
