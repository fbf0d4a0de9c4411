"""The sides of losses of sampled rows: n positives, each with m negatives of its own."""

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
    return {
        "positive": torch.randn(case.n, generator=generator) + 1,
        "negative": torch.randn(case.n, case.m, generator=generator),
    }


def sides(case: Case) -> dict[str, Side]:
    table = {FASTLOSS: Side(_fastloss), EAGER: Side(_eager)}
    if case.loss == "pairwise_margin_loss":
        table[TORCH_OWN] = Side(_torch_own)
    return table | {COMPILE: Side(_compiled, compiles=True)}


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    return with_autograd(getattr(fastloss, case.loss), inputs, mode)


def _bpr(positive: Tensor, negative: Tensor) -> Tensor:
    return -F.logsigmoid(positive[:, None] - negative).mean()


def _margin(positive: Tensor, negative: Tensor) -> Tensor:
    return F.relu(1 - positive[:, None] + negative).mean()


def _softmax(positive: Tensor, negative: Tensor) -> Tensor:
    logits = torch.cat([positive[:, None], negative], 1)
    return F.cross_entropy(logits, torch.zeros_like(positive, dtype=torch.int64))


EAGER_LOSSES = {"bpr_loss": _bpr, "pairwise_margin_loss": _margin, "sampled_softmax_loss": _softmax}


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return with_autograd(EAGER_LOSSES[case.loss], inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return guarded(with_autograd(compiled(EAGER_LOSSES[case.loss]), inputs, mode))


def _torch_own(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    one = torch.ones(1, 1, device=case.device)

    def loss(positive: Tensor, negative: Tensor) -> Tensor:
        positive = positive[:, None].expand_as(negative)
        return F.margin_ranking_loss(positive, negative, one, margin=1.0)

    return with_autograd(loss, inputs, mode)
