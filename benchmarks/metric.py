"""The sides of losses of rows against rows: n anchors, or pairs, of m features.

`torch.nn.functional` is torch's own triplet_margin_loss, eps and all; of the others, which it does
not have, the plain form is called eager.
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
    Loss,
    Result,
    Setting,
    Side,
    compiled,
    guarded,
    require_memory,
    with_autograd,
)

TORCH_EPS = 1e-6


def inputs(case: Case, generator: torch.Generator) -> Inputs:
    def rows() -> Tensor:
        return torch.randn(case.n, case.m, generator=generator)

    if case.loss == "contrastive_loss":
        named = {"x1": rows(), "x2": rows()}
    else:
        named = {"anchor": rows(), "positive": rows(), "negative": rows()}
    if case.loss != "triplet_margin_loss":
        named["label"] = torch.randint(2, (case.n,), generator=generator)
    if case.loss == "labelled_triplet_loss":
        # Rows far from the hinge's kink, where rounding to 16 bits would decide.
        named["positive"] = named["anchor"] + 0.5 * named["positive"]
    return named


def sides(case: Case) -> dict[str, Side]:
    plain = TORCH_OWN if case.loss == "triplet_margin_loss" else EAGER
    return {
        FASTLOSS: Side(_fastloss),
        plain: Side(_plain),
        COMPILE: Side(_compiled, compiles=True),
    }


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    function = getattr(fastloss, case.loss)
    if case.loss == "triplet_margin_loss":
        return with_autograd(lambda *rows: function(*rows, eps=TORCH_EPS), inputs, mode)
    if case.loss == "contrastive_loss":
        margin = _margin(case)
        return with_autograd(
            lambda *rows: function(*rows, inputs["label"], margin=margin), inputs, mode
        )
    return with_autograd(lambda *rows: function(*rows, inputs["label"]), inputs, mode)


def _margin(case: Case) -> float:
    """The usual distance of two rows of the inputs: half of the others are pushed."""
    return (2.0 * case.m) ** 0.5


def _plain_loss(case: Case, inputs: Inputs) -> Loss:
    if case.loss == "triplet_margin_loss":
        return F.triplet_margin_loss
    label = inputs["label"]

    def contrastive(x1: Tensor, x2: Tensor) -> Tensor:
        d = (x1 - x2).norm(dim=1)
        return 0.5 * torch.where(label == 1, d.square(), F.relu(_margin(case) - d).square()).mean()

    def triplet(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        first = (label == 1)[:, None]
        near = torch.where(first, positive, negative)
        far = torch.where(first, negative, positive)
        gap = (
            2 * (near - anchor).square().sum(1)
            - (near - far).square().sum(1)
            - (anchor - far).square().sum(1)
        )
        return F.relu(gap + 1).mean()

    return contrastive if case.loss == "contrastive_loss" else triplet


def _plain(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=3)
    return with_autograd(_plain_loss(case, inputs), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=3)
    return guarded(with_autograd(compiled(_plain_loss(case, inputs)), inputs, mode))
