"""What the pointwise losses share on the Python side: one autograd function, a check."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _checks, _ops
from ._autograd import first_derivative_only


def apply(
    stem: str, tensors: tuple[Tensor | None, ...], options: tuple[Any, ...], reduction: str
) -> Tensor:
    """Run a loss. `tensors`, the differentiable one first, and `options` are the operator's."""
    loss: Tensor = _Recomputed.apply((stem, options, reduction), *tensors)  # type: ignore[no-untyped-call]
    return loss


def broadcast_weight(op: str, name: str, value: object, input: Tensor) -> None:
    """Check a weight that is repeated over the input, as torch's pointwise losses take it."""
    value = _checks.tensor(op, name, value)
    fits = value.dim() <= input.dim() and all(
        have in (1, want)
        for have, want in zip(reversed(value.shape), reversed(input.shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{op}: {name} must have a shape that can be repeated to input's, "
            f"{tuple(input.shape)}, got {tuple(value.shape)}"
        )
    _checks.beside(op, name, value, input, tuple(value.shape), of="input")


class _Recomputed(torch.autograd.Function):
    """Backward reads the input again and writes the gradient where it is returned.

    Beside the arguments a number a row is saved. The upstream gradient is applied in the
    accumulation type, before the one rounding to the input's dtype.
    """

    @staticmethod
    def forward(ctx, plan, *tensors):  # type: ignore[no-untyped-def]
        stem, options, reduction = plan
        loss, saved = _ops.call(f"{stem}_forward", *tensors, *options, reduction)
        ctx.plan = plan
        ctx.save_for_backward(saved, *tensors)
        return loss

    @staticmethod
    @first_derivative_only
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        stem, options, reduction = ctx.plan
        saved, *tensors = ctx.saved_tensors
        gradient = _ops.call(f"{stem}_backward", grad_loss, saved, *tensors, *options, reduction)
        return (None, gradient, *[None] * (len(tensors) - 1))
