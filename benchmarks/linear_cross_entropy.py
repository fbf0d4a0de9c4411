"""The sides of `linear_cross_entropy`: the softmax over a whole catalogue of m classes.

Beside those of every loss, `torch.nn.functional.linear_cross_entropy` twice: as called without
options, and with `LinearCrossEntropyOptions()`, which computes it in chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from . import loops
from .cases import COMPILE, EAGER, FASTLOSS, LOOP, TORCH, TORCH_CHUNKED, Case
from .sides import (
    Inputs,
    Loss,
    Result,
    Setting,
    Side,
    Unavailable,
    compiled,
    guarded,
    in_workspace,
    require_memory,
    with_autograd,
)


def sides(case: Case) -> dict[str, Side]:
    return {
        FASTLOSS: Side(_fastloss),
        EAGER: Side(_eager),
        LOOP: Side(_loop, loops.settings),
        TORCH: Side(_torch),
        TORCH_CHUNKED: Side(_torch_chunked, sparing=True),  # 30 times the products on a CPU
        COMPILE: Side(_compiled, compiles=True),
    }


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(input: Tensor, linear_weight: Tensor) -> Tensor:
        return fastloss.linear_cross_entropy(input, linear_weight, inputs["target"])

    return in_workspace(case, with_autograd(loss, inputs, mode))


def _eager_loss(inputs: Inputs) -> Loss:
    target = inputs["target"]

    def loss(input: Tensor, linear_weight: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(input, linear_weight), target)

    return loss


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return with_autograd(_eager_loss(inputs), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return guarded(with_autograd(compiled(_eager_loss(inputs)), inputs, mode))


def _torch_loss(inputs: Inputs, **options: Any) -> Loss:
    function = getattr(F, "linear_cross_entropy", None)
    if function is None:
        raise Unavailable(f"torch {torch.__version__} does not have it")
    target = inputs["target"]

    def loss(input: Tensor, linear_weight: Tensor) -> Tensor:
        return function(input, linear_weight, target, **options)

    return loss


def _torch(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return with_autograd(_torch_loss(inputs), inputs, mode)


def _torch_chunked(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise Unavailable(f"torch {torch.__version__} does not have it")
    options = torch.nn.LinearCrossEntropyOptions()
    return guarded(with_autograd(_torch_loss(inputs, options=options), inputs, mode))


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    operands = loops.Operands(case, inputs, temperature=1.0)
    return loops.cross_entropy(case, operands, inputs["target"], mode, setting)
