"""What the listwise losses share on the Python side: one autograd function over their operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import first_derivative_only, times_upstream


def apply(
    stem: str, tensors: tuple[Tensor | None, ...], options: tuple[Any, ...], reduction: str
) -> Tensor:
    """Run a loss.

    Args:
        stem: the loss; its operator is <stem>_forward, as registered in _ops.py.
        tensors: scores, labels, where, offsets, weights, list_weights.
        options: the operator's own arguments, in its order.
        reduction: "mean", "sum", "none" or "mean_list".
    """
    plan = (stem, options, reduction, torch.is_grad_enabled())
    loss: Tensor = _Listwise.apply(plan, *tensors)  # type: ignore[no-untyped-call]
    return loss


class _Listwise(torch.autograd.Function):
    """The gradient by the scores is formed in the forward pass, list by list.

    It is of the accumulation type (float32 for 16-bit scores) and lacks only the upstream gradient,
    which is applied before it is rounded, once, to the scores' dtype.
    """

    @staticmethod
    def forward(ctx, plan, *tensors):  # type: ignore[no-untyped-def]
        stem, options, reduction, grad_enabled = plan
        # Grad mode is off in here whatever the caller's is, and needs_input_grad does not know of
        # it: the caller says.
        wanted = grad_enabled and ctx.needs_input_grad[1]
        loss, gradient = _ops.call(f"{stem}_forward", *tensors, *options, reduction, wanted)
        ctx.dtype = tensors[0].dtype
        if wanted:
            ctx.save_for_backward(gradient, tensors[3] if reduction == "none" else None)
        return loss

    @staticmethod
    @first_derivative_only
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        gradient, offsets = ctx.saved_tensors
        if grad_loss.dim() == 0 and gradient.dtype == ctx.dtype:
            return None, times_upstream(gradient, grad_loss), None, None, None, None, None
        grad_scores = _ops.call("listwise_backward", grad_loss, gradient, offsets, ctx.dtype)
        return None, grad_scores, None, None, None, None, None
