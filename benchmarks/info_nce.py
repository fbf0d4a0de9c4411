"""The sides of `info_nce`, target i of query i."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from . import loops
from .cases import COMPILE, DOT, EAGER, FASTLOSS, LOOP, Case
from .sides import (
    Inputs,
    Loss,
    Result,
    Setting,
    Side,
    compiled,
    guarded,
    in_workspace,
    require_memory,
    time_only,
    with_autograd,
)


def sides(case: Case) -> dict[str, Side]:
    table = {
        FASTLOSS: Side(_fastloss),
        EAGER: Side(_eager),
        LOOP: Side(_loop, loops.settings),
        COMPILE: Side(_compiled, compiles=True),
    }
    if case.similarity != "dot":
        table[DOT] = Side(_fastloss_dot)
    return table


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(query: Tensor, key: Tensor) -> Tensor:
        return fastloss.info_nce(
            query, key, temperature=case.temperature, similarity=case.similarity
        )

    return in_workspace(case, with_autograd(loss, inputs, mode))


def _fastloss_dot(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    return time_only(_fastloss(replace(case, similarity="dot"), inputs, mode, setting))


def _eager_loss(case: Case) -> Loss:
    target = torch.arange(case.n, device=case.device)

    def loss(query: Tensor, key: Tensor) -> Tensor:
        if case.similarity == "cosine":
            query, key = F.normalize(query), F.normalize(key)
        return F.cross_entropy(query @ key.T / case.temperature, target)

    return loss


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return with_autograd(_eager_loss(case), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return guarded(with_autograd(compiled(_eager_loss(case)), inputs, mode))


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    target = torch.arange(case.n, device=case.device)
    return loops.cross_entropy(case, loops.Operands(case, inputs), target, mode, setting)
