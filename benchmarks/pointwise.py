"""The sides of pointwise losses: logits (n, m[, places]) of m classes, or n x m items.

The side `torch.nn.functional` is the function that torch has for the loss, `F.kl_div` after
`F.log_softmax`; of `hinge_loss`, which it does not have, the plain form is called eager.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from .cases import COMPILE, EAGER, FASTLOSS, TORCH_OWN, Case
from .sides import (
    Inputs,
    Result,
    Setting,
    Side,
    compiled,
    guarded,
    require_memory,
    with_autograd,
)


def inputs(case: Case, generator: torch.Generator) -> Inputs:
    places = () if case.places == 1 else (case.places,)
    shape = (case.n, case.m, *places)
    logits = torch.randn(shape, generator=generator).mul_(2)
    if case.loss == "cross_entropy":
        classes = torch.randint(case.m, (case.n, *places), generator=generator)
        return {"input": logits, "target": classes}
    if case.loss == "kl_div_with_logits":
        return {"input": logits, "target": torch.randn(shape, generator=generator).softmax(1)}
    target = torch.randint(2, shape, generator=generator).float()
    if case.loss == "hinge_loss":
        return {"input": logits, "target": target.mul_(2).sub_(1)}
    if case.loss == "binary_cross_entropy":
        logits = logits.sigmoid_()
    return {"input": logits, "target": target}


def sides(case: Case) -> dict[str, Side]:
    plain = EAGER if case.loss == "hinge_loss" else TORCH_OWN
    return {
        FASTLOSS: Side(_fastloss),
        plain: Side(_plain),
        COMPILE: Side(_compiled, compiles=True),
    }


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    function, target = getattr(fastloss, case.loss), inputs["target"]
    return with_autograd(lambda input: function(input, target), inputs, mode)


def _kl_div(input: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(input, 1), target, reduction="batchmean")


def _hinge(input: Tensor, target: Tensor) -> Tensor:
    return F.relu(1 - target * input).mean()


PLAIN_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": F.cross_entropy,
    "kl_div_with_logits": _kl_div,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "binary_cross_entropy": F.binary_cross_entropy,
    "hinge_loss": _hinge,
}


def _plain(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    function, target = PLAIN_LOSSES[case.loss], inputs["target"]
    return with_autograd(lambda input: function(input, target), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    function, target = PLAIN_LOSSES[case.loss], inputs["target"]
    return guarded(with_autograd(compiled(lambda input: function(input, target)), inputs, mode))
