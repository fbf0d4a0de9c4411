"""The sides that a loss is measured against; each loss has a module that defines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cases import Case

Setting = tuple[str, int] | None  # what the untimed sweep chose, for example ("rows", 512)
Result = (
    tuple[Tensor, ...] | None
)  # (loss,) or (loss, gradients...); None where nothing is computed


class Unavailable(Exception):
    """The side cannot run this case; the text says why and is shown in the table."""


def _one_setting(case: Case, mode: str) -> Sequence[Setting]:
    return (None,)


@dataclass(frozen=True)
class Side:
    """One way to compute a case.

    `build(case, inputs, mode, setting)` prepares buffers and returns the function to time.
    `settings(case, mode)` lists what the sweep tries.
    """

    build: Callable[[Case, Any, str, Setting], Callable[[], Result]]
    settings: Callable[[Case, str], Sequence[Setting]] = _one_setting


def of(case: Case) -> dict[str, Side]:
    """Name → side, for one case."""
    import info_nce

    return {"info_nce": info_nce.sides}[case.loss](case)


def inputs_of(case: Case) -> dict[str, Tensor]:
    """Query and key: random unit vectors, the same for every side."""
    generator = torch.Generator().manual_seed(case.n + case.m + case.d)
    query = torch.randn(case.n, case.d, generator=generator)
    key = torch.randn(case.m, case.d, generator=generator)
    return {
        "query": torch.nn.functional.normalize(query),
        "key": torch.nn.functional.normalize(key),
    }


def compare(name: str, result: Result, expected: Result) -> None:
    """Fail loudly when two sides do not compute the same thing."""
    if result is None or expected is None:
        return
    for position, (ours, theirs) in enumerate(zip(result, expected, strict=True)):
        error = (ours.detach() - theirs).norm() / theirs.norm()
        if not error <= 1e-3:
            what = "loss" if position == 0 else f"gradient {position}"
            raise AssertionError(f"{name}: {what} differs from fastloss by a factor of {error:.2g}")
