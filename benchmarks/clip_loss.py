"""The sides of `clip_loss`.

* eager: one matrix of logits and its transpose (`logits_per_image.T`), as CLIP's own code does.
* two logits: `logits_per_image` and `logits_per_text`, each a product, as open_clip does.
* closed form: the best that plain torch can do with the matrix: the scores are kept and the
  gradient ½(softmax of rows + softmax of columns) − I is written by hand, three products.
* chunked loop: the best without the matrix: row chunks, the states of the columns carried along,
  then the scores once more for both gradients, four products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from .cases import CLOSED_FORM, COMPILE, EAGER, FASTLOSS, FORWARD, LOOP, TWO_LOGITS, Case
from .loops import OnlineLse, Operands, Tiles, settings
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
        TWO_LOGITS: Side(_two_logits),
        CLOSED_FORM: Side(_closed_form),
        LOOP: Side(_loop, _row_settings),
        COMPILE: Side(_compiled, compiles=True),
    }


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(image: Tensor, text: Tensor) -> Tensor:
        return fastloss.clip_loss(
            image, text, logit_scale=1 / case.temperature, similarity=case.similarity
        )

    return in_workspace(case, with_autograd(loss, inputs, mode))


# Functions of autograd --------------------------------------------------------------------------


def _eager_loss(case: Case, two_products: bool = False) -> Loss:
    target = torch.arange(case.n, device=case.device)
    scale = 1 / case.temperature

    def loss(image: Tensor, text: Tensor) -> Tensor:
        if case.similarity == "cosine":
            image, text = F.normalize(image), F.normalize(text)
        per_image = scale * image @ text.T
        per_text = scale * text @ image.T if two_products else per_image.T
        return (F.cross_entropy(per_image, target) + F.cross_entropy(per_text, target)) / 2

    return loss


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return with_autograd(_eager_loss(case), inputs, mode)


def _two_logits(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return with_autograd(_eager_loss(case, two_products=True), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return guarded(with_autograd(compiled(_eager_loss(case)), inputs, mode))


# Written by hand --------------------------------------------------------------------------------


def _closed_form(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, FORWARD)
    operands = Operands(case, inputs)
    tiles = Tiles(operands, case.n, case.m)
    of_rows = operands.query.new_empty(case.n, case.m)

    def run() -> Result:
        operands.load()
        ((rows, keys),) = tiles
        scores = tiles.scores(rows, keys)
        torch.softmax(scores, 1, out=of_rows)
        of_columns = torch.softmax(scores, 0, out=scores)
        positive = of_rows.diagonal().log() + of_columns.diagonal().log()
        loss = -positive.mean() / 2
        if mode == FORWARD:
            return (loss,)
        dscores = of_rows.add_(of_columns)
        dscores.diagonal().sub_(2)
        operands.accumulate(rows, keys, dscores)
        return (loss, *operands.gradients(2 * case.n))

    return run


def _row_settings(case: Case) -> list[Setting]:
    return [setting for setting in settings(case) if setting and setting[0] == "rows"]


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    assert setting is not None
    operands = Operands(case, inputs)
    tiles = Tiles(operands, setting[1], case.m)
    weights = torch.empty_like(tiles.buffer)

    def run() -> Result:
        operands.load()
        row_lse = operands.query.new_empty(case.n, 1)
        columns = OnlineLse(operands.query, case.m)
        for rows, keys in tiles:
            scores = tiles.scores(rows, keys)
            torch.logsumexp(scores, 1, keepdim=True, out=row_lse[rows])
            columns.add(scores.T)
        col_lse = columns.value().T
        positive = (operands.scaled * operands.key).sum(1)
        loss = ((row_lse.squeeze(1) + col_lse.squeeze(0)) / 2 - positive).mean()
        if mode == FORWARD:
            return (loss,)
        for rows, keys in tiles:
            scores = tiles.scores(rows, keys)
            dscores = torch.sub(
                scores, row_lse[rows], out=weights[: scores.numel()].view_as(scores)
            )
            dscores.exp_().add_(scores.sub_(col_lse).exp_())
            dscores.diagonal(rows.start).sub_(2)
            operands.accumulate(rows, keys, dscores)
        return (loss, *operands.gradients(2 * case.n))

    return run
