"""hinge_loss: its variants, edges and errors."""

from __future__ import annotations

import torch

import bad_arguments as bad
import elements
from case import Case, Edge, Invariance, Variant
from scores import (
    INF,
    beside_errors,
    doubled,
    edge,
    negative_error,
    rows_permuted,
    score_errors,
    some_zero,
    uniform,
    value_errors,
)

REQUIRED = ("scores", "labels")


def draw(generator, dtype, size):
    """Scores lie on a lattice of 1/64 from 1/128 on: none comes near the kink at ±1."""
    n, m = size.n, size.m
    scores = (elements.score_normal(generator, size) * 64).round() / 64 + 1 / 128
    weights = some_zero(uniform(generator, n, m))
    labels = torch.where(uniform(generator, n, m) < 0.4, 1, -1)
    return {
        "scores": scores.to(dtype),
        "scores_poisoned": elements.poison_where_0(scores, weights).to(dtype),
        "labels": labels,
        "labels_floating": labels.to(dtype),
        "weights": weights.to(dtype),
    }


def variants():
    for name, inputs in [
        ("plain", {}),
        ("floating labels", {"labels": "labels_floating"}),
        ("weights", {"weights": "weights"}),
        ("all", {"scores": "scores_poisoned", "labels": "labels_floating", "weights": "weights"}),
    ]:
        yield Variant(name, {}, inputs)


def edges():
    def call(change):
        return edge(draw, REQUIRED, change)

    nothing = torch.zeros(6, 9).tolist()
    yield from elements.common_edges(draw, REQUIRED)
    yield Edge("at the kink", call(lambda i: {"scores": i["labels_floating"]}), rows=nothing)
    yield Edge("scores 0", call(lambda i: {"scores": 0 * i["scores"]}),
               rows=torch.ones(6, 9).tolist())  # fmt: skip
    yield Edge("all weights 0", call(lambda i: {"weights": 0 * i["weights"]}), rows=nothing)
    yield Edge("right by 1e30", call(lambda i: {"scores": 1e30 * i["labels_floating"]}),
               rows=nothing)  # fmt: skip
    yield Edge("wrong by 1e30", call(lambda i: {"scores": -1e30 * i["labels_floating"]}))
    yield Edge("right at infinity", call(lambda i: {"scores": INF * i["labels_floating"]}),
               rows=nothing)  # fmt: skip


def errors():
    # The good call: scores (4, 6), labels (4, 6).
    yield from score_errors("scores", (4, 6))
    yield from beside_errors("labels", 4, 6, integer=True)
    yield from value_errors("labels", 0, 2, -3, like="labels")
    yield from beside_errors("weights", 4, 6)
    yield negative_error("weights", 4, 6)
    yield from bad.choice_errors("reduction", "batchmean")


def _mirror(arguments, generator):
    changed = {"scores": -arguments["scores"], "labels": -arguments["labels"]}
    return arguments | changed, lambda rows: rows


CASE = Case(
    name="hinge_loss",
    module="HingeLoss",
    module_options=(),
    draw=draw,
    required=REQUIRED,
    operands=("scores",),
    sizes=elements.SIZES,
    small=elements.SMALL,
    large=elements.LARGE,
    variants=tuple(variants()),
    differentiable=("scores",),
    follows_autocast=False,
    coupled=("scores", "labels", "weights"),
    thread_sizes=elements.THREAD_SIZES,
    few=("plain", "all"),
    invariances=(
        rows_permuted("scores", "labels", "weights"),
        elements.columns_permuted("scores", "labels", "weights"),
        Invariance("mirrored", _mirror),
        doubled("weights", lambda arguments: torch.ones_like(arguments["scores"])),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=elements.bound,
)
