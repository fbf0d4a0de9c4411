"""Registers the extension's functions as ``torch.ops.fastloss.*``.

An operator of torch, unlike a plain extension function, can stand in a compiled graph: its fake
function tells the compiler the shapes without running it. The implementation *is* the pybind11
function. The operators have no autograd kernel and are private; the public functions wrap them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _C

_library = torch.library.Library("fastloss", "DEF")
_operators: dict[str, Any] = {}
_kernels: dict[str, Any] = {}


def _register(name: str, schema: str, fake: Callable[..., Any]) -> None:
    _kernels[name] = getattr(_C, name)
    _library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, _kernels[name], "CPU")
    torch.library.register_fake(f"fastloss::{name}", fake, lib=_library)
    _operators[name] = getattr(torch.ops.fastloss, name).default


def call(name: str, first: Tensor, *arguments: Any) -> Any:
    """Call an operator; where nobody looks at operators, its implementation at once.

    The dispatcher would be felt at a small batch (n = 64). Those who look
    are a compiler, a dispatch mode, a tensor subclass (fake tensors among them) and other devices.
    """
    if (
        not torch.compiler.is_compiling()
        and (type(first) is Tensor or type(first) is torch.nn.Parameter)
        and first.device.type == "cpu"
        and torch._C._len_torch_dispatch_stack() == 0
    ):
        return _kernels[name](first, *arguments)
    return _operators[name](first, *arguments)


# What every pairwise loss with one target a row takes; `options` are the loss's own numbers and
# `wanted` says which gradients to form: query, key, negatives, key_bias, temperature.
_PAIRWISE_ARGUMENTS = (
    "Tensor query, Tensor key, Tensor? target, Tensor? negatives, Tensor? key_bias, "
    "Tensor? key_ids, Tensor? weights, Tensor? temperature_tensor, float temperature, "
    "str similarity, float margin, float[] options"
)


def _gradient_shapes(
    query: Tensor, key: Tensor, negatives: Tensor | None, wanted: list[bool]
) -> tuple[Tensor, ...]:
    shapes = (
        query.shape,
        key.shape,
        (query.shape[0], 0 if negatives is None else negatives.shape[1], 2),
        (key.shape[0],),
        (),
    )
    return tuple(
        query.new_empty(shape if wants else (0,))
        for shape, wants in zip(shapes, wanted, strict=True)
    )


def _register_pairwise(stem: str, row_size: int) -> None:
    """Register <stem>_forward and <stem>_backward; row_size is the length of the functor's Row."""

    def forward_fake(  # type: ignore[no-untyped-def]
        query, key, target, negatives, key_bias, key_ids, weights, temperature_tensor, temperature,
        similarity, margin, options, reduction, wanted, workspace,
    ):  # fmt: skip
        n = query.shape[0]
        loss = query.new_empty((n,) if reduction == "none" else ())
        rows = query.new_empty((n, row_size))
        return (loss, rows, *_gradient_shapes(query, key, negatives, wanted))

    def backward_fake(  # type: ignore[no-untyped-def]
        grad_loss, rows, query, key, target, negatives, key_bias, key_ids, weights,
        temperature_tensor, temperature, similarity, margin, options, wanted, workspace,
    ):  # fmt: skip
        return _gradient_shapes(query, key, negatives, wanted)

    _register(
        f"{stem}_forward",
        f"({_PAIRWISE_ARGUMENTS}, str reduction, bool[] wanted, int workspace)"
        " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
        forward_fake,
    )
    _register(
        f"{stem}_backward",
        f"(Tensor grad_loss, Tensor rows, {_PAIRWISE_ARGUMENTS}, bool[] wanted, int workspace)"
        " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
        backward_fake,
    )


_register_pairwise("info_nce", row_size=4)
_register(
    "negatives_gradient",
    "(Tensor query, Tensor negatives, Tensor own, Tensor scale) -> Tensor",
    lambda query, negatives, own, scale: torch.empty_like(
        negatives, memory_format=torch.contiguous_format
    ),
)
