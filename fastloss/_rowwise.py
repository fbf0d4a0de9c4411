"""What the losses of rows against rows share on the Python side: checks, one autograd function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _checks, _ops
from ._autograd import first_derivative_only


def operands(op: str, **tensors: Tensor) -> tuple[int, int]:
    """Check rows that lie beside each other, all (n, d) and of the first one's kind: (n, d)."""
    (first, like), *others = tensors.items()
    _checks.floating(op, first, like)
    _checks.shape(op, first, like, ("n", "d"))
    n, d = like.shape
    if d == 0:
        raise ValueError(f"{op}: {first} must have at least one feature, got {tuple(like.shape)}")
    for name, value in others:
        _checks.floating(op, name, value, like=like, of=first)
        _checks.shape(op, name, value, (n, d), f" as {first}")
    return n, d


def apply(
    stem: str, count: int, tensors: tuple[Tensor | None, ...], options: tuple[Any, ...],
    reduction: str,
) -> Tensor:  # fmt: skip
    """Run a loss. `tensors`, the `count` operands first, and `options` are the operator's."""
    loss: Tensor = _Rowwise.apply((stem, count, options, reduction), *tensors)  # type: ignore[no-untyped-call]
    return loss


class _Rowwise(torch.autograd.Function):
    """Backward reads the operands again and writes each gradient where it is returned.

    Beside the arguments a number a distance is saved. The upstream gradient is applied in the
    accumulation type, before the one rounding to the operands' dtype.
    """

    @staticmethod
    def forward(ctx, plan, *tensors):  # type: ignore[no-untyped-def]
        stem, _, options, reduction = plan
        loss, saved = _ops.call(f"{stem}_forward", *tensors, *options, reduction)
        ctx.plan = plan
        ctx.save_for_backward(saved, *tensors)
        return loss

    @staticmethod
    @first_derivative_only
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        stem, count, options, reduction = ctx.plan
        saved, *tensors = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[1 : 1 + count])
        gradients = _ops.call(
            f"{stem}_backward", grad_loss, saved, *tensors, *options, reduction, wanted
        )
        given = [g if want else None for g, want in zip(gradients, wanted, strict=True)]
        return (None, *given, *[None] * (len(tensors) - count))
