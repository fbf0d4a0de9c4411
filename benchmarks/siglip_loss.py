"""The sides of `siglip_loss`: text i of image i, scale 1 / temperature, bias −10.

* eager: the matrix of logits, the labels ±1 and logsigmoid, as SigLIP's pseudocode has it.
* chunked loop: the best without the matrix: in each chunk of rows softplus and sigmoid in place,
  then both gradients, three products.
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

BIAS = -10.0


def sides(case: Case) -> dict[str, Side]:
    return {
        FASTLOSS: Side(_fastloss),
        EAGER: Side(_eager),
        LOOP: Side(_loop, loops.settings),
        COMPILE: Side(_compiled, compiles=True),
    }


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(image: Tensor, text: Tensor) -> Tensor:
        return fastloss.siglip_loss(
            image,
            text,
            logit_scale=1 / case.temperature,
            logit_bias=BIAS,
            similarity=case.similarity,
        )

    return in_workspace(case, with_autograd(loss, inputs, mode))


def _eager_loss(case: Case) -> Loss:
    labels = 2 * torch.eye(case.n, case.m, device=case.device) - 1

    def loss(image: Tensor, text: Tensor) -> Tensor:
        if case.similarity == "cosine":
            image, text = F.normalize(image), F.normalize(text)
        logits = image @ text.T / case.temperature + BIAS
        return -F.logsigmoid(labels * logits).sum() / case.n

    return loss


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)  # logits and labels
    return with_autograd(_eager_loss(case), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    return guarded(with_autograd(compiled(_eager_loss(case)), inputs, mode))


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    assert setting is not None
    form, chunk = setting
    operands = loops.Operands(case, inputs)
    tiles = loops.Tiles(operands, *((chunk, case.m) if form == "rows" else (case.n, chunk)))
    values = torch.empty_like(tiles.buffer)

    def run() -> Result:
        operands.load()
        loss = operands.query.new_zeros(())
        for rows, keys in tiles:
            scores = tiles.scores(rows, keys).add_(BIAS)
            first, last = max(rows.start, keys.start), min(rows.stop, keys.stop)
            pairs = scores[first - rows.start :, first - keys.start :].diagonal()
            pairs = pairs[: max(last - first, 0)]
            loss -= pairs.sum()  # softplus(−s) = softplus(s) − s
            value = values[: scores.numel()].view_as(scores)
            loss += torch.log1p(torch.exp(scores, out=value), out=value).sum()  # scores < 80
            if mode != FORWARD:
                scores.sigmoid_()
                pairs.sub_(1)
                operands.accumulate(rows, keys, scores)
        loss /= case.n
        return (loss,) if mode == FORWARD else (loss, *operands.gradients(case.n))

    return run
