"""What the losses of one set share: rows against each other, chunk by chunk in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .cases import FORWARD, Case
from .loops import Operands, Tiles
from .sides import Inputs, Result

# Loss of a chunk's rows from their scores, which become the derivative of the rows' sum if wanted.
Chunk = Callable[[Tensor, slice, bool], Tensor]


def without_itself(scores: Tensor, first: int = 0) -> Tensor:
    """The scores of rows from `first` on, each one's score with itself masked in place."""
    scores.diagonal(first).fill_(-torch.inf)
    return scores


def loop(case: Case, inputs: Inputs, mode: str, rows: int, chunk: Chunk) -> Callable[[], Result]:
    """Three products: scores, and both sides of each chunk's derivative."""
    operands = Operands(case, {"query": inputs["query"], "key": inputs["query"]})
    tiles = Tiles(operands, rows, case.n)
    train = mode != FORWARD

    def run() -> Result:
        operands.load()
        losses = []
        for part, all_rows in tiles:
            scores = without_itself(tiles.scores(part, all_rows), part.start)
            losses.append(chunk(scores, part, train))
            if train:
                operands.accumulate(part, all_rows, scores)
        loss = torch.cat(losses).mean()
        if not train:
            return (loss,)
        as_row, as_column = operands.gradients(case.n)
        return loss, as_row.add_(as_column)

    return run
