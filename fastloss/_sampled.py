"""What the losses of sampled rows share on the Python side: checks and one autograd function."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _checks, _ops
from ._autograd import first_derivative_only, times_upstream

_HALVES = (torch.bfloat16, torch.float16)


class Sides(NamedTuple):
    """Scores of a row's positives and negatives as the operators take them, (b, p) and (b, n)."""

    positive: Tensor
    negative: Tensor
    positive_where: Tensor | None
    negative_where: Tensor | None


def sides(
    op: str,
    positive: Tensor,
    negative: Tensor,
    positive_where: Tensor | None,
    negative_where: Tensor | None,
) -> Sides:
    """Check both sides, each (b,), which means (b, 1), or (b, columns)."""
    _checks.floating(op, "positive", positive)
    _checks.floating(op, "negative", negative, like=positive, of="positive")
    if positive.dim() not in (1, 2):
        _checks.shape(op, "positive", positive, ("b", "p"), " or (b,)")
    b = positive.shape[0]
    if negative.dim() not in (1, 2) or negative.shape[0] != b:
        _checks.shape(op, "negative", negative, (b, "n"), " or (b,) with b as positive")
    if positive_where is not None:
        _checks.mask(op, "positive_where", positive_where, positive, (*positive.shape,), "positive")
    if negative_where is not None:
        _checks.mask(op, "negative_where", negative_where, negative, (*negative.shape,), "negative")
    return Sides(*(_columns(x) for x in (positive, negative, positive_where, negative_where)))  # type: ignore[arg-type]


def row_weights(op: str, weights: Tensor | None, positive: Tensor) -> None:
    if weights is not None:
        _checks.beside(op, "weights", weights, positive, (positive.shape[0],), of="positive")


def _columns(x: Tensor | None) -> Tensor | None:
    return x.unsqueeze(1) if x is not None and x.dim() == 1 else x


def apply(
    stem: str,
    differentiable: tuple[int, ...],
    tensors: tuple[Tensor | None, ...],
    options: tuple[Any, ...],
    reduction: str,
) -> Tensor:
    """Run a loss. `tensors` and `options` are the operator's arguments, in its order;
    `differentiable` are the positions of the tensors that may require grad."""
    plan = (stem, differentiable, options, reduction, torch.is_grad_enabled())
    loss: Tensor = _Sampled.apply(plan, *tensors)  # type: ignore[no-untyped-call]
    return loss


class _Sampled(torch.autograd.Function):
    """Gradients are formed in the forward pass, of the accumulation type, and scaled in backward:
    the upstream gradient is applied to them before they are rounded, once."""

    @staticmethod
    def forward(ctx, plan, *tensors):  # type: ignore[no-untyped-def]
        stem, differentiable, options, reduction, grad_enabled = plan
        # Grad mode is off in here whatever the caller's is, and needs_input_grad does not know of
        # it: the caller says.
        wanted = [grad_enabled and ctx.needs_input_grad[1 + i] for i in differentiable]
        loss, *gradients = _ops.call(f"{stem}_forward", *tensors, *options, reduction, wanted)
        ctx.plan, ctx.wanted, ctx.count = plan, wanted, len(tensors)
        ctx.shapes = [None if t is None else (t.dtype, t.dim()) for t in tensors]
        ctx.save_for_backward(*(g for g, want in zip(gradients, wanted, strict=True) if want))
        return loss

    @staticmethod
    @first_derivative_only
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        _, differentiable, _, reduction, _ = ctx.plan
        result: list[Tensor | None] = [None] * (1 + ctx.count)
        saved = iter(ctx.saved_tensors)
        for i, want in zip(differentiable, ctx.wanted, strict=True):
            if not want:
                continue
            gradient = next(saved)
            dtype, dims = ctx.shapes[i]
            if reduction == "none":
                # A row's own upstream gradient; what the rows share is summed over them.
                scaled = gradient * grad_loss[:, None] if dims else (gradient * grad_loss).sum()
                result[1 + i] = scaled.to(dtype)
            elif dtype in _HALVES and dims:
                result[1 + i] = _ops.call("scaled_gradient", gradient, grad_loss, dtype)
            else:
                result[1 + i] = times_upstream(gradient, grad_loss).to(dtype)
        return tuple(result)
