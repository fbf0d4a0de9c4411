"""The best chunked loops in plain torch, for a softmax cross-entropy over the keys.

Gradients are formed chunk by chunk in the forward pass; every product and the softmax write into
buffers allocated beforehand, and no autograd graph is built. Where a chunk of whole rows is wider
than the caches, a second form walks over blocks of keys, twice. A sweep chooses the form and the
chunk. Operands of 16 bits are converted to float32 first, which keeps the loop exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .cases import FORWARD, Case
from .sides import KEY_BLOCKS, MANY_KEYS, Inputs, Result, Setting

ROW_CHUNKS = (64, 128, 256, 512, 1024)
LARGEST_BUFFER = 2 << 30  # bytes
LONG = 1 << 39  # operations of one product, seconds: every candidate of a sweep would be felt


def settings(case: Case) -> Sequence[Setting]:
    chunks = [c for c in ROW_CHUNKS if c <= max(case.n, ROW_CHUNKS[0])]
    rows = [("rows", c) for c in chunks if 4 * min(c, case.n) * case.m <= LARGEST_BUFFER]
    keys = [("keys", block) for block in KEY_BLOCKS] if case.score_bytes > MANY_KEYS else []
    if 2 * case.n * case.m * case.d * case.products > LONG:
        return (*rows[1::2], *keys[:2])
    return (*rows, *keys)


class Operands:
    """Both operands in float32, normalised for cosine, and the way back for their gradients."""

    def __init__(self, case: Case, inputs: Inputs, temperature: float | None = None) -> None:
        self.cosine = case.similarity == "cosine"
        self.temperature = case.temperature if temperature is None else temperature
        self.stored = (inputs["query"], inputs["key"])
        self.copied = self.cosine or case.half
        self.query, self.key = self.stored
        if self.copied:
            self.query, self.key = (torch.empty_like(x, dtype=torch.float32) for x in self.stored)
        self.scaled = torch.empty_like(self.query)  # query / temperature
        self.grad_query, self.grad_key = torch.empty_like(self.query), torch.empty_like(self.key)

    def load(self) -> None:
        if self.copied:
            self.query.copy_(self.stored[0])
            self.key.copy_(self.stored[1])
        if self.cosine:
            self.norms = [x.norm(dim=1, keepdim=True) for x in (self.query, self.key)]
            self.query.div_(self.norms[0])
            self.key.div_(self.norms[1])
        torch.div(self.query, self.temperature, out=self.scaled)

    def accumulate(self, rows: slice, keys: slice, dscores: Tensor) -> None:
        """Add the products of one rectangle; the first write of a row or key overwrites."""
        query, key = self.scaled[rows], self.key[keys]
        if keys.start == 0:
            torch.mm(dscores, key, out=self.grad_query[rows])
        else:
            self.grad_query[rows].addmm_(dscores, key)
        if rows.start == 0:
            torch.mm(dscores.T, query, out=self.grad_key[keys])
        else:
            self.grad_key[keys].addmm_(dscores.T, query)

    def gradients(self, divisor: float) -> tuple[Tensor, Tensor]:
        """The sums over `divisor`, with the normalisation undone, in the stored dtype."""
        grad_query, grad_key = self.grad_query, self.grad_key
        grad_query.div_(divisor * self.temperature)  # grad_key has the temperature already
        if divisor != 1:
            grad_key.div_(divisor)
        if self.cosine:
            pairs = ((grad_query, self.query), (grad_key, self.key))
            for (gradient, unit), norm in zip(pairs, self.norms, strict=True):
                gradient.addcmul_(unit, (gradient * unit).sum(1, keepdim=True), value=-1)
                gradient.div_(norm)
        dtype = self.stored[0].dtype
        return grad_query.to(dtype), grad_key.to(dtype)


class Tiles:
    """The score matrix chunk by chunk, always into the same buffer."""

    def __init__(self, operands: Operands, rows: int, keys: int) -> None:
        self.operands = operands
        self.n, self.m = len(operands.query), len(operands.key)
        self.rows, self.keys = min(rows, self.n), min(keys, self.m)
        self.buffer = operands.query.new_empty(self.rows * self.keys)

    def __iter__(self):
        """Pairs of slices, row chunks outermost."""
        for row in range(0, self.n, self.rows):
            for key in range(0, self.m, self.keys):
                yield (
                    slice(row, min(row + self.rows, self.n)),
                    slice(key, min(key + self.keys, self.m)),
                )

    def scores(self, rows: slice, keys: slice) -> Tensor:
        shape = (rows.stop - rows.start, keys.stop - keys.start)
        scores = self.buffer[: shape[0] * shape[1]].view(shape)
        return torch.mm(self.operands.scaled[rows], self.operands.key[keys].T, out=scores)


class OnlineLse:
    """Row by row, the log-sum-exp of scores that come in pieces (overwritten)."""

    def __init__(self, like: Tensor, rows: int) -> None:
        self.max = like.new_full((rows, 1), -torch.inf)
        self.sum = like.new_zeros(rows, 1)

    def add(self, scores: Tensor) -> None:
        largest = torch.maximum(self.max, scores.amax(1, keepdim=True))
        self.sum.mul_((self.max - largest).exp_())
        self.sum.add_(scores.sub_(largest).exp_().sum(1, keepdim=True))
        self.max = largest

    def value(self) -> Tensor:
        return self.max + self.sum.log()


def cross_entropy(
    case: Case, operands: Operands, target: Tensor, mode: str, setting: Setting
) -> Callable[[], Result]:
    """Mean cross-entropy of the scores' rows, target (n,)."""
    assert setting is not None
    form, chunk = setting
    build = _whole_rows if form == "rows" else _blocks_of_keys
    return build(case, operands, target, mode, chunk)


def _whole_rows(
    case: Case, operands: Operands, target: Tensor, mode: str, chunk: int
) -> Callable[[], Result]:
    """Three products. −log p is inf for p < 1e-38, fine here."""
    tiles = Tiles(operands, chunk, case.m)
    positive = operands.query.new_empty(case.n, 1)
    target = target[:, None]
    minus_one = positive.new_full((1, 1), -1).expand(case.n, 1)

    def run() -> Result:
        operands.load()
        for rows, keys in tiles:
            scores = tiles.scores(rows, keys)
            torch.softmax(scores, 1, out=scores)
            torch.gather(scores, 1, target[rows], out=positive[rows])
            if mode != FORWARD:
                scores.scatter_add_(1, target[rows], minus_one[rows])
                operands.accumulate(rows, keys, scores)
        loss = -positive.log().mean()
        return (loss,) if mode == FORWARD else (loss, *operands.gradients(case.n))

    return run


def _blocks_of_keys(
    case: Case, operands: Operands, target: Tensor, mode: str, block: int
) -> Callable[[], Result]:
    """An online log-sum-exp, then the scores once more. Four products."""
    tiles = Tiles(operands, case.n, block)

    def run() -> Result:
        operands.load()
        online = OnlineLse(operands.query, case.n)
        for rows, keys in tiles:
            online.add(tiles.scores(rows, keys))
        row_lse = online.value()
        positive = (operands.scaled * operands.key[target]).sum(1)
        loss = (row_lse.squeeze(1) - positive).mean()
        if mode == FORWARD:
            return (loss,)
        for rows, keys in tiles:
            scores = tiles.scores(rows, keys).sub_(row_lse).exp_()
            (here,) = torch.where((target >= keys.start) & (target < keys.stop))
            scores[here, target[here] - keys.start] -= 1
            operands.accumulate(rows, keys, scores)
        return (loss, *operands.gradients(case.n))

    return run
