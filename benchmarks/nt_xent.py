"""The sides of `nt_xent`: n rows are n / 2 items, first one view, then the other.

* eager: all scores, the diagonal masked, cross-entropy.
* chunked loop: softmax and derivative of row chunks in place, both gradients from each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from .cases import COMPILE, EAGER, FASTLOSS, LOOP, Case
from .loops import settings
from .one_set import loop, without_itself
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
        LOOP: Side(_loop, row_settings),
        COMPILE: Side(_compiled, compiles=True),
    }


def row_settings(case: Case) -> list[Setting]:
    return [setting for setting in settings(case) if setting and setting[0] == "rows"]


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(rows: Tensor) -> Tensor:
        return fastloss.nt_xent(
            *rows.chunk(2), temperature=case.temperature, similarity=case.similarity
        )

    return in_workspace(case, with_autograd(loss, inputs, mode))


def _target(case: Case) -> Tensor:
    return torch.arange(case.n, device=case.device).roll(case.n // 2)


def _eager_loss(case: Case) -> Loss:
    target = _target(case)

    def loss(rows: Tensor) -> Tensor:
        if case.similarity == "cosine":
            rows = F.normalize(rows)
        return F.cross_entropy(without_itself(rows @ rows.T / case.temperature), target)

    return loss


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return with_autograd(_eager_loss(case), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return guarded(with_autograd(compiled(_eager_loss(case)), inputs, mode))


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    assert setting is not None
    target = _target(case)[:, None]
    minus_one = torch.full((1, 1), -1.0, device=case.device).expand(case.n, 1)

    def chunk(scores: Tensor, rows: slice, train: bool) -> Tensor:
        positive = scores.gather(1, target[rows])
        largest, at = scores.max(1, keepdim=True)
        torch.softmax(scores, 1, out=scores)
        lse = largest - scores.gather(1, at).log()  # log p of the positive may be log 0
        if train:
            scores.scatter_add_(1, target[rows], minus_one[rows])
        return lse - positive

    return loop(case, inputs, mode, setting[1], chunk)
