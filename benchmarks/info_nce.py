"""The sides of `info_nce`, target i of query i.

* bare products: the matrix products alone, `torch.mm` over the whole matrix into buffers that exist
  already (in blocks of keys where the matrix is too large to be kept). This is the yardstick, and
  close to the limit: only the memory traffic of storing the matrix can be saved on top.
* eager: the n x m score matrix and `F.cross_entropy`, as it is usually written.
* torch.compile: the same function, compiled.
* chunked loop: the best that plain torch can do. Gradients are formed chunk by chunk in the forward
  pass; every product and the softmax write into buffers allocated beforehand, and no autograd graph
  is built. Where a chunk of whole rows is wider than the caches, a second form walks over blocks of
  keys, twice. A sweep chooses the form and the chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss
from cases import COMPILE, DOT, EAGER, FASTLOSS, FORWARD, LIMIT, LOOP, Case
from memory import available_bytes
from sides import Result, Setting, Side, Unavailable

Inputs = dict[str, Tensor]

ROW_CHUNKS = (64, 128, 256, 512, 1024, 2048)
KEY_BLOCKS = (4096, 16_384, 65_536)
MANY_KEYS = 256 << 20  # bytes of the score matrix from which blocks of keys are tried as well
LARGEST_BUFFER = 2 << 30  # bytes


def sides(case: Case) -> dict[str, Side]:
    table = {
        LIMIT: Side(_products, _product_settings),
        FASTLOSS: Side(_fastloss),
        EAGER: Side(_eager),
        LOOP: Side(_loop, _loop_settings),
        COMPILE: Side(_compiled),
    }
    if case.similarity != "dot":
        table[DOT] = Side(_fastloss_dot)
    return table


# Functions of autograd --------------------------------------------------------------------------


def _with_autograd(
    loss: Callable[[Tensor, Tensor], Tensor], inputs: Inputs, mode: str
) -> Callable[[], Result]:
    query, key = inputs["query"], inputs["key"]
    if mode == FORWARD:

        def forward() -> Result:
            with torch.no_grad():
                return (loss(query, key),)

        return forward

    query, key = query.clone().requires_grad_(), key.clone().requires_grad_()

    def train() -> Result:
        value = loss(query, key)
        return (value, *torch.autograd.grad(value, (query, key)))

    return train


def _fastloss(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(query: Tensor, key: Tensor) -> Tensor:
        return fastloss.info_nce(
            query, key, temperature=case.temperature, similarity=case.similarity
        )

    return _with_autograd(loss, inputs, mode)


def _fastloss_dot(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    def loss(query: Tensor, key: Tensor) -> Tensor:
        return fastloss.info_nce(query, key, temperature=case.temperature, similarity="dot")

    # Another function than the case's: its result is not comparable, only its time is.
    run = _with_autograd(loss, inputs, mode)

    def time_only() -> Result:
        run()
        return None

    return time_only


def _eager_loss(case: Case) -> Callable[[Tensor, Tensor], Tensor]:
    target = torch.arange(case.n)

    def loss(query: Tensor, key: Tensor) -> Tensor:
        if case.similarity == "cosine":
            query, key = F.normalize(query), F.normalize(key)
        return F.cross_entropy(query @ key.T / case.temperature, target)

    return loss


def _require_memory(case: Case, mode: str) -> None:
    """Eager holds two score matrices in the forward pass and three in the backward pass."""
    needed = (2 if mode == FORWARD else 3) * case.score_bytes
    if needed > 0.8 * available_bytes():
        raise Unavailable(f"needs {needed / 1e9:.0f} GB for the score matrix and its gradients")


def _eager(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    _require_memory(case, mode)
    return _with_autograd(_eager_loss(case), inputs, mode)


def _compiled(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    _require_memory(case, mode)
    torch._dynamo.reset()  # every case is compiled for its own shape
    run = _with_autograd(torch.compile(_eager_loss(case), dynamic=False), inputs, mode)
    try:
        run()
    except Exception as error:  # whatever stops the compiler stops this side only
        reason = str(error).strip().splitlines() or [""]
        raise Unavailable(f"{type(error).__name__}: {reason[0][:120]}") from error
    return run


# The limit --------------------------------------------------------------------------------------


def _product_settings(case: Case, mode: str) -> Sequence[Setting]:
    if case.score_bytes <= MANY_KEYS:
        return (("keys", case.m),)
    return tuple(("keys", block) for block in KEY_BLOCKS)


def _products(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    """One product for FORWARD, `case.products` for TRAIN, in blocks of keys."""
    assert setting is not None
    query, key = inputs["query"], inputs["key"]
    block = min(setting[1], case.m)
    buffer = torch.empty(case.n * block)
    grad_query, grad_key = torch.empty_like(query), torch.empty_like(key)
    score_products = 1 if mode == FORWARD else case.products - 2

    def run() -> Result:
        for start in range(0, case.m, block):
            keys = key[start : start + block]
            scores = buffer[: case.n * len(keys)].view(case.n, len(keys))
            for _ in range(score_products):
                torch.mm(query, keys.T, out=scores)
            if mode != FORWARD:
                if start == 0:
                    torch.mm(scores, keys, out=grad_query)
                else:
                    grad_query.addmm_(scores, keys)
                torch.mm(scores.T, query, out=grad_key[start : start + block])
        return None

    return run


# The best loop in plain torch -------------------------------------------------------------------


def _loop_settings(case: Case, mode: str) -> Sequence[Setting]:
    chunks = [c for c in ROW_CHUNKS if c <= max(case.n, ROW_CHUNKS[0])]
    fitting = [c for c in chunks if 4 * min(c, case.n) * case.m <= LARGEST_BUFFER]
    settings: list[Setting] = [("rows", chunk) for chunk in fitting]
    if case.score_bytes > MANY_KEYS:
        settings += [("keys", block) for block in KEY_BLOCKS]
    return settings


class _Operands:
    """Both operands normalised for cosine, and the way back for their gradients."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        self.cosine = case.similarity == "cosine"
        self.temperature = case.temperature
        self.inputs = inputs
        self.query, self.key = inputs["query"], inputs["key"]
        if self.cosine:
            self.query, self.key = torch.empty_like(self.query), torch.empty_like(self.key)
        self.scaled = torch.empty_like(self.query)  # query / temperature

    def load(self) -> None:
        if self.cosine:
            self.norms = [x.norm(dim=1, keepdim=True) for x in self.inputs.values()]
            torch.div(self.inputs["query"], self.norms[0], out=self.query)
            torch.div(self.inputs["key"], self.norms[1], out=self.key)
        torch.div(self.query, self.temperature, out=self.scaled)

    def finish(self, grad_query: Tensor, grad_key: Tensor) -> None:
        """Scale the sums to gradients of the mean loss and undo the normalisation."""
        n = len(self.query)
        grad_query.div_(n * self.temperature)  # grad_key has the temperature already
        grad_key.div_(n)
        if self.cosine:
            pairs = ((grad_query, self.query), (grad_key, self.key))
            for (gradient, unit), norm in zip(pairs, self.norms, strict=True):
                gradient.addcmul_(unit, (gradient * unit).sum(1, keepdim=True), value=-1)
                gradient.div_(norm)


def _loop(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    assert setting is not None
    form, chunk = setting
    build = _row_loop if form == "rows" else _key_loop
    return build(case, _Operands(case, inputs), mode, chunk)


def _row_loop(case: Case, operands: _Operands, mode: str, chunk: int) -> Callable[[], Result]:
    """Chunks of whole rows: three products. −log p is inf for p < 1e-38, fine here."""
    query, key, scaled = operands.query, operands.key, operands.scaled
    chunk = min(chunk, case.n)
    buffer = torch.empty(chunk, case.m)
    positive = torch.empty(case.n)
    grad_query, grad_key = torch.empty_like(query), torch.empty_like(key)

    def run() -> Result:
        operands.load()
        for start in range(0, case.n, chunk):
            rows = slice(start, min(start + chunk, case.n))
            scores = buffer[: rows.stop - start]
            torch.mm(scaled[rows], key.T, out=scores)
            torch.softmax(scores, 1, out=scores)
            diagonal = scores.diagonal(start)
            positive[rows] = diagonal
            if mode != FORWARD:
                diagonal.sub_(1)
                torch.mm(scores, key, out=grad_query[rows])
                if start == 0:
                    torch.mm(scores.T, scaled[rows], out=grad_key)
                else:
                    grad_key.addmm_(scores.T, scaled[rows])
        loss = -positive.log().mean()
        if mode == FORWARD:
            return (loss,)
        operands.finish(grad_query, grad_key)
        return loss, grad_query, grad_key

    return run


def _key_loop(case: Case, operands: _Operands, mode: str, block: int) -> Callable[[], Result]:
    """Blocks of keys: an online log-sum-exp, then the scores once more. Four products."""
    query, key, scaled = operands.query, operands.key, operands.scaled
    buffer = torch.empty(case.n * block)
    grad_query, grad_key = torch.empty_like(query), torch.empty_like(key)

    def scores_of(start: int) -> tuple[Tensor, Tensor]:
        keys = key[start : start + block]
        scores = buffer[: case.n * len(keys)].view(case.n, len(keys))
        return torch.mm(scaled, keys.T, out=scores), keys

    def run() -> Result:
        operands.load()
        row_max = torch.full((case.n, 1), -torch.inf)
        row_sum = torch.zeros(case.n, 1)
        for start in range(0, case.m, block):
            scores, _ = scores_of(start)
            largest = torch.maximum(row_max, scores.amax(1, keepdim=True))
            row_sum.mul_((row_max - largest).exp_())
            row_sum.add_(scores.sub_(largest).exp_().sum(1, keepdim=True))
            row_max = largest
        row_lse = row_max + row_sum.log()
        positive = (scaled * key[: case.n]).sum(1)
        loss = (row_lse.squeeze(1) - positive).mean()
        if mode == FORWARD:
            return (loss,)
        for start in range(0, case.m, block):
            scores, keys = scores_of(start)
            scores.sub_(row_lse).exp_()
            if start < case.n:  # the targets of rows start, start + 1, ... lie in this block
                scores[start:].diagonal().sub_(1)
            if start == 0:
                torch.mm(scores, keys, out=grad_query)
            else:
                grad_query.addmm_(scores, keys)
            torch.mm(scores.T, scaled, out=grad_key[start : start + block])
        operands.finish(grad_query, grad_key)
        return loss, grad_query, grad_key

    return run
