"""The sides that a loss is measured against; a module for each loss or family defines them.

Sides come by name:

* bare products, of losses of features: the matrix products alone, `torch.mm` over the whole matrix
  into buffers that exist already (in blocks of keys where the matrix is too large to be kept). This
  is the yardstick, and close to the limit: only the memory traffic of storing the matrix can be
  saved on top. On the CPU they are float32 for every dtype.
* eager: the matrix and torch's loss on it, as it is usually written.
* torch.compile: the same function, compiled.
* chunked loop: the best that plain torch can do without the matrix (loops.py).
* peers.py: packages that are installed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import fastloss

from .cases import (
    FASTLOSS,
    FEATURES,
    FLOAT32,
    FORWARD,
    IN_BATCH,
    LABELLED,
    LIMIT,
    LISTS,
    METRIC,
    MMA,
    ONE_SET,
    ROWS,
    TRIPLETS,
    WORKSPACE,
    Case,
)
from .memory import available_bytes

Inputs = dict[str, Tensor]
Setting = tuple[str, int] | None  # what the untimed sweep chose, for example ("rows", 512)
Result = (
    tuple[Tensor, ...] | None
)  # (loss,) or (loss, gradients...); None where nothing is computed
Loss = Callable[..., Tensor]  # of the differentiated operands, in the order of their inputs

DIFFERENTIATED = (
    *("query", "key", "scores", "anchor", "positive", "negative", "input", "x1", "x2"),
    "embeddings",
)

KEY_BLOCKS = (4096, 16_384, 65_536)
MANY_KEYS = 256 << 20  # bytes of the score matrix from which blocks of keys are tried as well

TOLERANCE = 1e-3
HALF_TOLERANCE = 0.1  # of a side that rounds to 16 bits on the way; fastloss does not


class Unavailable(Exception):
    """The side cannot run this case; the text says why and is shown in the table."""


def _one_setting(case: Case) -> Sequence[Setting]:
    return (None,)


def _itself(case: Case) -> Case:
    return case


@dataclass(frozen=True)
class Side:
    """One way to compute a case.

    `build(case, inputs, mode, setting)` prepares buffers and returns the function to time.
    `settings(case)` lists what the sweep tries, on the problem `trial(case)`. The first call of a
    side that `compiles` tells nothing of the next. A side with long calls is timed `sparing`ly.
    """

    build: Callable[[Case, Inputs, str, Setting], Callable[[], Result]]
    settings: Callable[[Case], Sequence[Setting]] = _one_setting
    trial: Callable[[Case], Case] = _itself
    compiles: bool = False
    sparing: bool = False


def of(case: Case) -> dict[str, Side]:
    """Name → side, for one case."""
    from . import (
        clip_loss,
        in_batch,
        info_nce,
        labelled,
        linear_cross_entropy,
        nt_xent,
        pairwise_logsumexp,
        peers,
        siglip_loss,
        sup_con,
    )

    if case.loss in FEATURES:
        modules = (
            *(info_nce, clip_loss, linear_cross_entropy, pairwise_logsumexp, siglip_loss),
            *(nt_xent, sup_con),
        )
        of_loss = {module.__name__.rpartition(".")[2]: module.sides for module in modules}
        of_loss |= dict.fromkeys(IN_BATCH, in_batch.sides)
        of_loss |= dict.fromkeys(LABELLED, labelled.sides)
        table = {LIMIT: Side(_products, _product_settings), **of_loss[case.loss](case)}
    else:
        table = _family(case).sides(case)
    if case.half:
        table[FLOAT32] = Side(_in_float32(table[FASTLOSS]))
    if case.device == "cuda":
        table[MMA] = Side(_by_tensor_core_kernels(table[FASTLOSS]))
    return {**table, **peers.sides(case)}


def _family(case: Case) -> Any:
    from . import lists, metric, pointwise, rows, triplets

    if case.loss in LISTS:
        return lists
    if case.loss in METRIC:
        return metric
    if case.loss in TRIPLETS:
        return triplets
    return rows if case.loss in ROWS else pointwise


def inputs_of(case: Case) -> Inputs:
    """The operands, and targets or labels: the same for every side."""
    generator = torch.Generator().manual_seed(case.n + case.m + case.d)
    dtype = getattr(torch, case.dtype)
    if case.loss not in FEATURES:
        inputs = _family(case).inputs(case, generator)
        return {
            name: x.to(case.device, dtype if x.is_floating_point() else None)
            for name, x in inputs.items()
        }
    query = torch.randn(case.n, case.d, generator=generator)
    if case.loss in ONE_SET:
        query[case.n // 2 :] += query[: case.n // 2]  # the second views
        # No class of one, which sup_con leaves out and its plain forms do not.
        labels = torch.randperm(case.n, generator=generator) % min(100, case.n // 2)
        return {"query": query.to(case.device, dtype), "labels": labels.to(case.device)}
    key = torch.randn(case.m, case.d, generator=generator)
    if case.loss == "linear_cross_entropy":
        key *= 2 * case.d**-0.5  # logits with a standard deviation of 2
    else:
        query, key = F.normalize(query), F.normalize(key)
    inputs = {"query": query.to(case.device, dtype), "key": key.to(case.device, dtype)}
    if case.loss == "linear_cross_entropy":
        target = torch.randint(0, case.m, (case.n,), generator=generator)
        inputs["target"] = target.to(case.device)
    return inputs


def _detached(result: tuple[Tensor, ...]) -> list[Tensor]:
    return [part.detach().float() for part in result]


def error_of(result: Result, expected: Result) -> float | None:
    """The largest relative error among loss and gradients, as norms; None without a result."""
    if result is None or expected is None:
        return None
    errors = [
        float((ours - theirs).norm() / theirs.norm())
        for ours, theirs in zip(_detached(result), _detached(expected), strict=True)
    ]
    return max(errors, key=lambda error: (error != error, error))  # NaN is the largest


def tolerance(case: Case) -> float:
    return HALF_TOLERANCE if case.half else TOLERANCE


# What most sides are made of --------------------------------------------------------------------


def with_autograd(
    loss: Loss, inputs: Inputs, mode: str, upstream: Tensor | None = None
) -> Callable[[], Result]:
    """Call `loss` and, for TRAIN, form the gradients of its operands with autograd."""
    operands = [inputs[name] for name in DIFFERENTIATED if name in inputs]
    if mode == FORWARD:

        def forward() -> Result:
            with torch.no_grad():
                return (loss(*operands),)

        return forward

    operands = [x.detach().requires_grad_() for x in operands]

    def train() -> Result:
        value = loss(*operands)
        return (value, *torch.autograd.grad(value, operands, upstream))

    return train


def time_only(function: Callable[[], object]) -> Callable[[], Result]:
    """For a side that computes something else than the case does."""

    def run() -> Result:
        function()
        return None

    return run


def in_workspace(case: Case, function: Callable[[], Result]) -> Callable[[], Result]:
    """The function under the case's workspace limit; as it is where that is the default."""
    if case.workspace == WORKSPACE:
        return function

    def run() -> Result:
        with fastloss.workspace_limit(case.workspace):
            return function()

    return run


def guarded(function: Callable[[], Result]) -> Callable[[], Result]:
    """Whatever stops a compiler or a peer stops this side only."""

    def run() -> Result:
        try:
            return function()
        except Exception as error:
            reason = str(error).strip().splitlines() or [""]
            raise Unavailable(f"{type(error).__name__}: {reason[0][:120]}") from error

    return run


def require_memory(case: Case, mode: str, matrices: int = 1) -> None:
    """For sides of autograd: two matrices in the forward pass and three in the backward pass.

    `matrices`: how many are formed side by side.
    """
    needed = (2 if mode == FORWARD else 3) * matrices * case.score_bytes
    free = available_bytes() if case.device == "cpu" else torch.cuda.mem_get_info()[0]
    if needed > 0.8 * free:
        raise Unavailable(f"needs {needed / 1e9:.0f} GB for the matrix and its gradients")


def compiled(loss: Loss) -> Loss:
    with contextlib.suppress(AttributeError):
        torch._dynamo.reset()  # every case is compiled for its own shape
    return torch.compile(loss, dynamic=False)


def _in_float32(side: Side) -> Callable[[Case, Inputs, str, Setting], Callable[[], Result]]:
    """The side on the same stored values, converted before the clock starts."""

    def build(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
        inputs = {name: x.float() if x.is_floating_point() else x for name, x in inputs.items()}
        return side.build(replace(case, dtype="float32"), inputs, mode, setting)

    return build


def _by_tensor_core_kernels(
    side: Side,
) -> Callable[[Case, Inputs, str, Setting], Callable[[], Result]]:
    def build(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
        function = side.build(case, inputs, mode, setting)

        def run() -> Result:
            with fastloss.cuda_engine("mma"):
                return function()

        return run

    return build


# The limit --------------------------------------------------------------------------------------


def _product_settings(case: Case) -> Sequence[Setting]:
    if case.score_bytes <= MANY_KEYS:
        return (("keys", case.m),)
    return tuple(("keys", block) for block in KEY_BLOCKS[1:])


def _products(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    """One product for FORWARD, `case.products` for TRAIN, in blocks of keys."""
    assert setting is not None
    query, key = inputs["query"], inputs.get("key", inputs["query"])
    if case.device == "cpu":
        query, key = query.float(), key.float()
    block = min(setting[1], case.m)
    buffer = query.new_empty(case.n * block)
    grad_query, grad_key = torch.empty_like(query), torch.empty_like(key)
    with_gradients = mode != FORWARD and case.products > 1
    score_products = case.products - 2 if with_gradients else 1

    def run() -> Result:
        for start in range(0, case.m, block):
            keys = key[start : start + block]
            scores = buffer[: case.n * len(keys)].view(case.n, len(keys))
            for _ in range(score_products):
                torch.mm(query, keys.T, out=scores)
            if with_gradients:
                if start == 0:
                    torch.mm(scores, keys, out=grad_query)
                else:
                    grad_query.addmm_(scores, keys)
                torch.mm(scores.T, query, out=grad_key[start : start + block])
        return None

    return run
