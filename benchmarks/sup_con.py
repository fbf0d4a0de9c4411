"""The sides of `sup_con`: n rows of 100 classes against each other.

* eager: all scores, the mask of positives, log-softmax and its mean, as published code does.
* chunked loop: softmax and derivative of row chunks in place, both gradients from each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from .cases import COMPILE, EAGER, FASTLOSS, LOOP, Case
from .nt_xent import row_settings
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


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(rows: Tensor) -> Tensor:
        return fastloss.sup_con(
            rows, inputs["labels"], temperature=case.temperature, similarity=case.similarity
        )

    return in_workspace(case, with_autograd(loss, inputs, mode))


def _eager_loss(case: Case, inputs: Inputs) -> Loss:
    labels = inputs["labels"]
    itself = torch.eye(case.n, dtype=torch.bool, device=case.device)
    positive = (labels[:, None] == labels) & ~itself
    count = positive.sum(1)

    def loss(rows: Tensor) -> Tensor:
        if case.similarity == "cosine":
            rows = F.normalize(rows)
        log_p = F.log_softmax(without_itself(rows @ rows.T / case.temperature), 1)
        return -(log_p.masked_fill(~positive, 0).sum(1) / count).mean()

    return loss


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return with_autograd(_eager_loss(case, inputs), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return guarded(with_autograd(compiled(_eager_loss(case, inputs)), inputs, mode))


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    assert setting is not None
    labels = inputs["labels"]
    count = torch.bincount(labels)[labels] - 1

    def chunk(scores: Tensor, rows: slice, train: bool) -> Tensor:
        share = (labels[rows, None] == labels).float().div_(count[rows, None])
        share.diagonal(rows.start).zero_()
        lse = scores.logsumexp(1, keepdim=True)
        finite = scores.diagonal(rows.start).fill_(0)  # 0 · −inf would be NaN
        loss = lse.squeeze(1) - torch.linalg.vecdot(share, scores)
        if train:
            finite.fill_(-torch.inf)
            scores.sub_(lse).exp_().sub_(share)
        return loss

    return loop(case, inputs, mode, setting[1], chunk)
