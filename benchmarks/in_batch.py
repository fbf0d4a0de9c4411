"""The sides of `in_batch_bpr_loss` and `in_batch_hinge_loss`, key i of query i.

* eager: the matrix of scores, less its diagonal.
* chunked loop: the best without the matrix: in each chunk of rows the gaps become derivatives in
  place, then both gradients, three products.
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
        LOOP: Side(_loop, _row_settings),
        COMPILE: Side(_compiled, compiles=True),
    }


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    function = getattr(fastloss, case.loss)

    def loss(query: Tensor, key: Tensor) -> Tensor:
        result: Tensor = function(
            query, key, temperature=case.temperature, similarity=case.similarity
        )
        return result

    return in_workspace(case, with_autograd(loss, inputs, mode))


def _eager_loss(case: Case) -> Loss:
    others = 1 - torch.eye(case.n, case.m, device=case.device)

    def loss(query: Tensor, key: Tensor) -> Tensor:
        if case.similarity == "cosine":
            query, key = F.normalize(query), F.normalize(key)
        scores = query @ key.T / case.temperature
        gaps = scores - scores.diagonal()[:, None]
        each = F.softplus(gaps) if case.loss == "in_batch_bpr_loss" else F.relu(1 + gaps)
        return (each * others).sum() / (case.n * (case.m - 1))

    return loss


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return with_autograd(_eager_loss(case), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return guarded(with_autograd(compiled(_eager_loss(case)), inputs, mode))


def _row_settings(case: Case) -> list[Setting]:
    return [setting for setting in loops.settings(case) if setting and setting[0] == "rows"]


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    assert setting is not None
    operands = loops.Operands(case, inputs)
    tiles = loops.Tiles(operands, setting[1], case.m)
    values = torch.empty_like(tiles.buffer)
    pairs = case.n * (case.m - 1)

    def run() -> Result:
        operands.load()
        positive = (operands.scaled * operands.key[: case.n]).sum(1, keepdim=True)
        loss = operands.query.new_zeros(())
        for rows, keys in tiles:
            gaps = tiles.scores(rows, keys).sub_(positive[rows])
            diagonal = gaps.diagonal(rows.start)
            diagonal.fill_(-torch.inf)
            value = values[: gaps.numel()].view_as(gaps)
            if case.loss == "in_batch_bpr_loss":
                loss += torch.log1p(torch.exp(gaps, out=value), out=value).sum()  # gaps < 80
                gaps.sigmoid_()
            else:
                loss += torch.clamp(torch.add(gaps, 1, out=value), min=0, out=value).sum()
                torch.sign(value, out=gaps)
            if mode != FORWARD:
                torch.neg(gaps.sum(1), out=diagonal)
                operands.accumulate(rows, keys, gaps)
        loss /= pairs
        return (loss,) if mode == FORWARD else (loss, *operands.gradients(pairs))

    return run
