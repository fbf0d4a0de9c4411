"""What the pairwise losses share on the Python side: one autograd function over their operators."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _ops
from ._autograd import first_derivative_only
from ._workspace import current_workspace_limit

_HALVES = (torch.bfloat16, torch.float16)


class Operator(NamedTuple):
    """The operators <stem>_forward and <stem>_backward, as registered in _ops.py.

    `differentiable` are the positions of the tensors that may require grad, in the order of the
    kernel's gradients; `negatives` is the position of the tensor whose gradient comes as
    coefficients, −1 without one.
    """

    stem: str
    differentiable: tuple[int, ...]
    negatives: int = -1


def autocast(*tensors: Any) -> tuple[Any, ...]:
    """Cast operands as torch.matmul does under autocast; what is no tensor stays as it is."""
    first = tensors[0]
    if not isinstance(first, Tensor) or first.device.type not in ("cpu", "cuda"):
        return tensors
    device = first.device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        x.to(dtype)
        if isinstance(x, Tensor) and x.is_floating_point() and x.dtype != torch.float64
        else x
        for x in tensors
    )


def apply(
    operator: Operator, tensors: tuple[Tensor | None, ...], options: tuple[Any, ...], reduction: str
) -> Tensor:
    """Run a loss. `tensors` and `options` are the operator's arguments, in its order."""
    plan = (operator, options, reduction, torch.is_grad_enabled(), current_workspace_limit())
    loss: Tensor = _Pairwise.apply(plan, *tensors)  # type: ignore[no-untyped-call]
    return loss


class _Pairwise(torch.autograd.Function):
    """Gradients are formed in the forward pass, for "none" recomputed in the backward pass.

    They are of the accumulation type (float32 for 16-bit operands) and unscaled: the upstream
    gradient is applied to them before they are rounded, once, to the operand's dtype.
    """

    @staticmethod
    def forward(ctx, plan, *tensors):  # type: ignore[no-untyped-def]
        operator, options, reduction, grad_enabled, workspace = plan
        # Grad mode is off in here whatever the caller's is, and needs_input_grad does not know of
        # it: the caller says.
        needs = ctx.needs_input_grad
        wanted = [grad_enabled and needs[1 + i] for i in operator.differentiable]
        recompute = reduction == "none"
        loss, rows, *gradients = _ops.call(
            f"{operator.stem}_forward", *tensors, *options, reduction,
            [False] * len(wanted) if recompute else wanted, workspace,
        )  # fmt: skip
        ctx.plan = plan
        ctx.wanted = wanted
        ctx.dtypes = [t.dtype if t is not None else None for t in tensors]
        if recompute:
            ctx.save_for_backward(rows, *tensors)
        else:
            # The negatives' gradient is as large as they are: it is made from coefficients.
            by_position = dict(zip(operator.differentiable, wanted, strict=True))
            with_own = by_position.get(operator.negatives, False)
            own = (tensors[0], tensors[operator.negatives]) if with_own else ()
            saved = [gradient for gradient, want in zip(gradients, wanted, strict=True) if want]
            ctx.save_for_backward(*saved, *own)
        return loss

    @staticmethod
    @first_derivative_only
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        operator, options, reduction, _, workspace = ctx.plan
        result: list[Tensor | None] = [None] * (1 + len(ctx.dtypes))
        saved = ctx.saved_tensors
        if reduction == "none":
            rows, *tensors = saved
            gradients = _ops.call(
                f"{operator.stem}_backward", grad_loss, rows, *tensors, *options, ctx.wanted,
                workspace,
            )  # fmt: skip
            own = (tensors[0], tensors[operator.negatives])
        else:
            remaining = iter(saved)
            gradients = [next(remaining) if want else None for want in ctx.wanted]
            own = saved[-2:]
        for i, want, gradient in zip(operator.differentiable, ctx.wanted, gradients, strict=True):
            if not want:
                continue
            dtype = ctx.dtypes[i]
            if i == operator.negatives:
                factor = grad_loss.new_ones(()) if reduction == "none" else grad_loss
                result[1 + i] = _ops.call("negatives_gradient", *own, gradient, factor)
            elif reduction == "none":
                result[1 + i] = gradient.to(dtype)
            elif dtype in _HALVES:
                result[1 + i] = _ops.call("scaled_gradient", gradient, grad_loss, dtype)
            else:
                result[1 + i] = gradient * grad_loss  # a new tensor: retain_graph
        return tuple(result)
