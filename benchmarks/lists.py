"""The sides of losses of lists: n lists of m scored and labelled items, all of them real.

* fastloss, pairs: `method="pairs"`, our own loop over the pairs of a list, however long it is.
* fastloss, a quarter: the first m / 4 items of a long list, for the law of growth.
* fastloss, binary: the same list with labels 0 and 1, for what graded labels cost.
* eager: the differences of all pairs of a list, (n, m, m), and a mask.
* chunked eager: the same on some lists, or some rows of the differences of one list, at a time:
  into buffers that exist already and with the derivative written by hand, without a graph. A sweep
  on a shorter list chooses the pairs of a chunk. All m² differences are formed, as eager does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from .cases import (
    ALL_PAIRS,
    BINARY,
    CHUNKED,
    COMPILE,
    EAGER,
    FASTLOSS,
    FORWARD,
    PAIRS,
    QUARTER,
    Case,
)
from .sides import (
    Inputs,
    Loss,
    Result,
    Setting,
    Side,
    Unavailable,
    compiled,
    guarded,
    inputs_of,
    require_memory,
    time_only,
    with_autograd,
)

LONG_LIST = 1 << 10  # items from which a list has a quarter to be compared with
TRIAL_LENGTH = 4096  # items of the list that the sweep of chunks runs on
CHUNKS = tuple(1 << log2 for log2 in range(14, 23, 2))  # pairs
MOST_PAIRS = 1 << 28  # beyond, a form that visits m² pairs takes part only where a bar speaks of it


def inputs(case: Case, generator: torch.Generator) -> Inputs:
    shape = (case.n, case.m)
    scores = torch.randn(shape, generator=generator)
    if case.labels == "continuous":
        order = torch.rand(shape, generator=generator).argsort(dim=1)  # all different
        labels = order.float() / case.m
    else:
        grades = 2 if case.labels == "binary" else 5
        labels = torch.randint(grades, shape, generator=generator).float()
    return {"scores": scores, "labels": labels}


def sides(case: Case) -> dict[str, Side]:
    table = {FASTLOSS: Side(_fastloss)}
    if case.loss in ALL_PAIRS:
        table[PAIRS] = Side(_pairs, sparing=True)
        if case.full:
            if case.n == 1 and case.m >= LONG_LIST:
                table[QUARTER] = Side(_quarter)
                if case.labels != "binary":
                    table[BINARY] = Side(_binary)
            table[CHUNKED] = Side(_chunked, _chunks, _trial, sparing=True)
    return table | {EAGER: Side(_eager, sparing=True), COMPILE: Side(_compiled, compiles=True)}


# fastloss ---------------------------------------------------------------------------------------


def _fastloss(
    case: Case, inputs: Inputs, mode: str, setting: Setting, **options: Any
) -> Callable[[], Result]:
    labels = inputs["labels"]
    function = getattr(fastloss, case.loss)
    if case.power != 1:
        options["power"] = case.power
    return with_autograd(lambda scores: function(scores, labels, **options), inputs, mode)


def _pairs(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    return _fastloss(case, inputs, mode, setting, method="pairs")


def _quarter(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    inputs = {name: x[:, : case.m // 4].contiguous() for name, x in inputs.items()}
    return time_only(_fastloss(replace(case, m=case.m // 4), inputs, mode, setting))


def _binary(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    case = replace(case, labels="binary")
    return time_only(_fastloss(case, inputs_of(case), mode, setting))


# Plain torch ------------------------------------------------------------------------------------


def _eager_loss(case: Case, labels: Tensor) -> Loss:
    def listnet(scores: Tensor) -> Tensor:
        return -(labels.softmax(1) * F.log_softmax(scores, 1)).sum(1).mean()

    if case.loss == "listnet_loss":
        return listnet

    def loss(scores: Tensor) -> Tensor:
        gap = scores[:, :, None] - scores[:, None, :]
        valid = labels[:, :, None] > labels[:, None, :]
        value = F.softplus(-gap) if case.loss == "ranknet_loss" else F.relu(1 - gap)
        if case.power == 2:
            value = value.square()
        return torch.where(valid, value, 0).sum() / valid.sum()

    return loss


def require_time(case: Case, most_pairs: int = MOST_PAIRS) -> None:
    pairs = case.n * case.m**2
    if case.loss in ALL_PAIRS and pairs > most_pairs:
        raise Unavailable(f"takes too long with {pairs:.1e} pairs")


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    require_time(case)
    return with_autograd(_eager_loss(case, inputs["labels"]), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    require_memory(case, mode, matrices=2)
    require_time(case)
    return guarded(with_autograd(compiled(_eager_loss(case, inputs["labels"])), inputs, mode))


def _chunks(case: Case) -> Sequence[Setting]:
    return [("pairs", count) for count in CHUNKS]


def _trial(case: Case) -> Case:
    return replace(case, m=min(case.m, TRIAL_LENGTH))


def _rectangles(case: Case, pairs: int) -> Iterator[tuple[slice, slice]]:
    """Lists and rows of the differences, at most about `pairs` pairs at a time."""
    lists, rows = max(1, pairs // case.m**2), min(case.m, max(1, pairs // case.m))
    for first in range(0, case.n, lists):
        for row in range(0, case.m, rows):
            yield (
                slice(first, min(first + lists, case.n)),
                slice(row, min(row + rows, case.m)),
            )


def _chunked(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    assert setting is not None
    if not any(bar.against == CHUNKED for bar in case.bars):
        require_time(case)
    scores, labels = inputs["scores"].float(), inputs["labels"].float()
    train = mode != FORWARD
    rectangles = list(_rectangles(case, setting[1]))
    largest = max((a.stop - a.start) * (b.stop - b.start) * case.m for a, b in rectangles)
    gaps, values = scores.new_empty(2, largest)
    mask = torch.empty(largest, dtype=torch.bool, device=scores.device)

    def ranknet(gap: Tensor, value: Tensor) -> Tensor:
        total = torch.ops.aten.softplus.out(gap, out=value).sum()
        if train:
            gap.sigmoid_()
        return total

    def hinge(gap: Tensor, value: Tensor) -> Tensor:
        gap.add_(1).relu_()
        if case.power == 2:
            total = torch.mul(gap, gap, out=value).sum()
            if train:
                gap.mul_(2)
            return total
        total = gap.sum()
        if train:
            gap.sign_()
        return total

    term = ranknet if case.loss == "ranknet_loss" else hinge

    def run() -> Result:
        total = torch.zeros((), dtype=torch.float64, device=scores.device)
        count = torch.zeros((), dtype=torch.int64, device=scores.device)
        gradient = torch.zeros_like(scores)
        for lists, rows in rectangles:
            s, y = scores[lists], labels[lists]
            shape = (len(s), rows.stop - rows.start, case.m)
            size = shape[0] * shape[1] * shape[2]
            gap, value, out = (x[:size].view(shape) for x in (gaps, values, mask))
            torch.sub(s[:, None, :], s[:, rows, None], out=gap)
            torch.le(y[:, rows, None], y[:, None, :], out=out)
            count += size - out.sum()
            gap.masked_fill_(out, -torch.inf)  # of value and derivative 0
            total += term(gap, value)
            if train:
                gradient[lists] += gap.sum(1)
                gradient[lists, rows] -= gap.sum(2)
        loss = (total / count).float()
        return (loss, gradient.div_(count)) if train else (loss,)

    return run
