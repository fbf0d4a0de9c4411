"""The sides of `pairwise_logsumexp`, over the keys, with an upstream gradient that varies by row.

That gradient is known only when the forward pass is over, so the loop forms the scores twice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from . import loops
from .cases import COMPILE, EAGER, FASTLOSS, FORWARD, LOOP, Case
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
    with_autograd,
)


def sides(case: Case) -> dict[str, Side]:
    return {
        FASTLOSS: Side(_fastloss),
        EAGER: Side(_eager),
        LOOP: Side(_loop, loops.settings),
        COMPILE: Side(_compiled, compiles=True),
    }


def upstream(case: Case) -> Tensor:
    return torch.linspace(0.5, 1.5, case.n, device=case.device)


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(query: Tensor, key: Tensor) -> Tensor:
        return fastloss.pairwise_logsumexp(
            query, key, temperature=case.temperature, similarity=case.similarity
        )

    return in_workspace(case, with_autograd(loss, inputs, mode, upstream(case)))


def _eager_loss(case: Case) -> Loss:
    def loss(query: Tensor, key: Tensor) -> Tensor:
        if case.similarity == "cosine":
            query, key = F.normalize(query), F.normalize(key)
        return torch.logsumexp(query @ key.T / case.temperature, 1).float()

    return loss


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return with_autograd(_eager_loss(case), inputs, mode, upstream(case))


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return guarded(with_autograd(compiled(_eager_loss(case)), inputs, mode, upstream(case)))


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    assert setting is not None
    form, chunk = setting
    operands = loops.Operands(case, inputs)
    by_rows = form == "rows"
    tiles = loops.Tiles(operands, chunk if by_rows else case.n, case.m if by_rows else chunk)
    grad_lse = upstream(case)[:, None]

    def run() -> Result:
        operands.load()
        row_lse = operands.query.new_empty(case.n, 1)
        if by_rows:
            for rows, keys in tiles:
                torch.logsumexp(tiles.scores(rows, keys), 1, keepdim=True, out=row_lse[rows])
        else:
            online = loops.OnlineLse(operands.query, case.n)
            for rows, keys in tiles:
                online.add(tiles.scores(rows, keys))
            row_lse = online.value()
        if mode == FORWARD:
            return (row_lse.squeeze(1),)
        for rows, keys in tiles:
            dscores = tiles.scores(rows, keys).sub_(row_lse[rows]).exp_().mul_(grad_lse[rows])
            operands.accumulate(rows, keys, dscores)
        return (row_lse.squeeze(1), *operands.gradients(1))

    return run
