"""The sides of the losses of all triplets: n embeddings of d features in m classes of equal size.

* eager: the distances, and the gaps of all n³ triplets under a mask; semi_hard chooses by it.
* torch.compile: the same.
* fastloss, half: the law of growth.

pytorch-metric-learning, in `peers.py`, lists the triplets. The clusters overlap: a good part of the
triplets is active.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from .cases import COMPILE, EAGER, FASTLOSS, HALF, TRIPLET_MARGIN, Case
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


def inputs(case: Case, generator: torch.Generator) -> Inputs:
    labels = torch.arange(case.n) % case.m
    centres = 0.5 * torch.randn(case.m, case.d, generator=generator)
    return {
        "embeddings": torch.randn(case.n, case.d, generator=generator) + centres[labels],
        "labels": labels,
    }


def sides(case: Case) -> dict[str, Side]:
    return {
        FASTLOSS: Side(_fastloss),
        EAGER: Side(_eager, sparing=True),
        COMPILE: Side(_compiled, compiles=True),
        HALF: Side(_half),
    }


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    function = getattr(fastloss, case.loss)

    def loss(embeddings: Tensor) -> Tensor:
        value: Tensor = function(embeddings, inputs["labels"], margin=TRIPLET_MARGIN)
        return value

    return in_workspace(case, with_autograd(loss, inputs, mode))


def _half(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    few = {name: tensor[: case.n // 2] for name, tensor in inputs.items()}
    return time_only(_fastloss(case, few, mode, setting))


def _eager_loss(case: Case, inputs: Inputs) -> Loss:
    same = inputs["labels"][:, None] == inputs["labels"]
    positive, negative = same & ~torch.eye(case.n, dtype=torch.bool), ~same

    def distances(embeddings: Tensor) -> Tensor:
        norms = embeddings.square().sum(1)
        squared = norms[:, None] + norms - 2 * embeddings @ embeddings.T
        return squared.clamp(min=1e-12).sqrt()

    def batch_all(embeddings: Tensor) -> Tensor:
        distance = distances(embeddings.float())
        valid = positive[:, :, None] & negative[:, None, :]
        terms = F.relu(distance[:, :, None] - distance[:, None, :] + TRIPLET_MARGIN) * valid
        return terms.sum() / (terms > 0).sum().clamp(min=1)

    def semi_hard(embeddings: Tensor) -> Tensor:
        distance = distances(embeddings.float())
        farther = negative[:, None, :] & (distance[:, None, :] > distance[:, :, None])
        nearest = distance[:, None, :].masked_fill(~farther, torch.inf).amin(2)
        farthest = distance.masked_fill(~negative, -torch.inf).amax(1, keepdim=True)
        chosen = torch.where(farther.any(2), nearest, farthest)
        return F.relu(distance - chosen + TRIPLET_MARGIN)[positive].mean()

    return batch_all if case.loss == "batch_all_triplet_loss" else semi_hard


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return with_autograd(_eager_loss(case, inputs), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode)
    return guarded(with_autograd(compiled(_eager_loss(case, inputs)), inputs, mode))
