"""binary_cross_entropy: its variants, edges and errors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import bad_arguments as bad
import elements
import fastloss.reference
from case import Case, Edge, Invariance, Variant
from scores import (
    INF,
    beside_errors,
    edge,
    rows_permuted,
    score_errors,
    some_zero,
    uniform,
    value_errors,
)

REQUIRED = ("input", "target")


def draw(generator, dtype, size):
    n, m = size.n, size.m
    logits = elements.score_normal(generator, size)
    weight = some_zero(uniform(generator, n, m))
    inputs = {
        # Away from 0 and 1, where central differences cannot follow.
        "input": 0.02 + 0.96 * logits.sigmoid(),
        "input_sharp": (8 * logits).sigmoid(),
        "input_poisoned": torch.where(weight == 0, torch.nan, 0.02 + 0.96 * logits.sigmoid()),
        "target": uniform(generator, n, m),
        "weight": weight,
        "weight_of_columns": some_zero(uniform(generator, m)),
        "weight_of_rows": some_zero(uniform(generator, n, 1)),
    }
    inputs = {name: value.to(dtype) for name, value in inputs.items()}
    labels = uniform(generator, n, m) < 0.4
    return inputs | {"labels": labels.to(dtype), "labels_integer": labels.long()}


def variants():
    labels = {"target": "labels"}
    for name, inputs in [
        ("plain", labels),
        ("probabilities", {}),
        ("integer labels", {"target": "labels_integer"}),
        ("weight of columns", {"weight": "weight_of_columns"}),
        ("weight of rows", labels | {"weight": "weight_of_rows"}),
        ("all", {"input": "input_poisoned", "weight": "weight"}),
    ]:
        yield Variant(name, {}, inputs)


def eager(input, target, **options):
    """torch's own, where it has numbers."""
    if not input.isfinite().all():
        return fastloss.reference.binary_cross_entropy(input, target, **options)
    return F.binary_cross_entropy(input, target.to(input.dtype), **options)


def edges():
    def call(change):
        return edge(draw, REQUIRED, change)

    def certain(right):
        def change(i):
            target = (i["labels"] > 0).to(i["input"].dtype)
            return {"input": target.clone() if right else 1 - target, "target": target}

        return change

    def tiny(value):
        def change(i):
            return {"input": torch.full_like(i["input"], value), "target": i["labels"]}

        return change

    nothing = torch.zeros(6, 9).tolist()
    yield from elements.common_edges(draw, REQUIRED)
    yield Edge("certain and right", call(certain(True)), rows=nothing)
    yield Edge("certain and wrong", call(certain(False)), rows=torch.full((6, 9), 100.0).tolist())
    yield Edge("all weights 0", call(lambda i: {"weight": 0 * i["weight"]}), rows=nothing)
    yield Edge("1e-7", call(tiny(1e-7)))
    yield Edge("1e-20", call(tiny(1e-20)))
    yield Edge("1e-38", call(tiny(1e-38)))
    yield Edge("almost 1", call(tiny(1 - 2.0**-24)))
    yield Edge("sharp", call(lambda i: {"input": i["input_sharp"]}))


def errors():
    # The good call: input (4, 6), target (4, 6).
    yield from score_errors("input", (4, 6))
    yield from value_errors("input", -0.01, 1.01, 2.0, INF, -INF, like="input")
    yield from beside_errors("target", 4, 6, integer=True)
    yield from value_errors("target", -0.01, 1.01, 2.0, INF, -INF, like="target")
    yield from elements.repeated_weight_errors("weight")
    yield from bad.choice_errors("reduction", "batchmean")


def _mirror(arguments, generator):
    """The other class is the same problem."""
    changed = {"input": 1 - arguments["input"], "target": 1 - arguments["target"]}
    return arguments | changed, lambda rows: rows


CASE = Case(
    name="binary_cross_entropy",
    module="BCELoss",
    module_options=(),
    draw=draw,
    required=REQUIRED,
    operands=("input",),
    sizes=elements.SIZES,
    small=elements.SMALL,
    large=elements.LARGE,
    variants=tuple(variants()),
    differentiable=("input",),
    follows_autocast=False,
    coupled=("input", "target", "weight"),
    thread_sizes=elements.THREAD_SIZES,
    few=("plain", "integer labels", "weight of columns", "all"),
    eager=eager,
    invariances=(
        rows_permuted("input", "target", "weight"),
        elements.columns_permuted("input", "target", "weight"),
        Invariance("mirrored", _mirror),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=elements.bound,
)
