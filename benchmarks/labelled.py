"""The sides of `batch_hard_triplet_loss` and `pairwise_contrastive_loss`: n rows of 100 classes.

Distances are Euclidean, cosine where the case says so. Eager is the masked form: all distances, of
matrix products, and masks by label. The pairs' slopes are constant, as pytorch-metric-learning's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from .cases import COMPILE, EAGER, FASTLOSS, Case
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
        COMPILE: Side(_compiled, compiles=True),
    }


def margin(case: Case) -> float:
    """Where the hinges of random rows are open for some and shut for others."""
    return 1.0 if case.similarity == "cosine" else float((2.5 * case.d) ** 0.5)


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    labels = inputs["labels"]
    similarity = "cosine" if case.similarity == "cosine" else "euclidean"

    def hardest(rows: Tensor) -> Tensor:
        return fastloss.batch_hard_triplet_loss(rows, labels, similarity=similarity)

    def pairs(rows: Tensor) -> Tensor:
        return fastloss.pairwise_contrastive_loss(
            rows,
            labels,
            similarity=similarity,
            margin=margin(case),
            negative_term="linear",
            scale=1.0,
        )

    loss = hardest if case.loss == "batch_hard_triplet_loss" else pairs
    return in_workspace(case, with_autograd(loss, inputs, mode))


def _distances(case: Case, rows: Tensor) -> Tensor:
    if case.similarity == "cosine":
        rows = F.normalize(rows)
        return 1 - rows @ rows.T
    norms = rows.square().sum(1)
    square = torch.addmm(norms[:, None] + norms, rows, rows.T, alpha=-2)
    return square.clamp(min=1e-12).sqrt()


def _eager_loss(case: Case, inputs: Inputs) -> Loss:
    labels = inputs["labels"]
    same = labels[:, None] == labels
    itself = torch.eye(case.n, dtype=torch.bool, device=case.device)
    positive = same & ~itself
    valid = positive.any(1) & (~same).any(1)

    def hardest(rows: Tensor) -> Tensor:
        d = _distances(case, rows)
        farthest = d.masked_fill(~positive, -torch.inf).amax(1)
        nearest = d.masked_fill(same, torch.inf).amin(1)
        return F.relu(farthest - nearest + 1)[valid].mean()

    def pairs(rows: Tensor) -> Tensor:
        d = _distances(case, rows)
        terms = torch.where(same, d, F.relu(margin(case) - d))
        return terms.masked_fill(itself, 0).sum() / (case.n * (case.n - 1))

    return hardest if case.loss == "batch_hard_triplet_loss" else pairs


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=4)
    return with_autograd(_eager_loss(case, inputs), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=4)
    return guarded(with_autograd(compiled(_eager_loss(case, inputs)), inputs, mode))
