"""What the losses' autograd functions share: first derivatives only, and no silence about it;
gradients of the forward pass, given away by the last backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _NoSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, _):  # type: ignore[no-untyped-def]
        raise RuntimeError("fastloss: second derivatives of the losses are not defined")


def first_derivative_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Make every use of a second derivative an error.

    torch's once_differentiable refuses only when the upstream gradient requires grad. In
    ``grad(loss, x, create_graph=True)`` it does not, and a gradient penalty made of the result
    would lose its gradient without a word.
    """

    @functools.wraps(backward)
    def wrapper(ctx: Any, *upstream: Tensor) -> Any:
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return backward(ctx, *upstream)
        with torch.no_grad():
            gradients = backward(ctx, *upstream)
        return tuple(
            None if g is None else _NoSecondDerivative.apply(g.detach().requires_grad_())  # type: ignore[no-untyped-call]
            for g in gradients
        )

    return wrapper


def times_upstream(gradient: Tensor, upstream: Tensor) -> Tensor:
    """A saved gradient times the upstream one, a number.

    In place in the last backward pass through the graph, which gives up what it saved: a second
    tensor of that size costs more than the loss where memory is returned to the system at once and
    every page of it is fetched anew.
    """
    return gradient.mul_(upstream) if _last_pass(upstream) else gradient * upstream


_keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


def _last_pass(upstream: Tensor) -> bool:
    # Under vmap the upstream gradient holds many.
    return not (
        torch.compiler.is_compiling()
        or torch._C._functorch.is_legacy_batchedtensor(upstream)
        or _keeps_graph()
    )
