"""binary_cross_entropy_with_logits: its variants, edges and errors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import bad_arguments as bad
import elements
import fastloss.reference
from case import Case, Edge, Invariance, Variant
from scores import INF, beside_errors, edge, rows_permuted, score_errors, some_zero, uniform

REQUIRED = ("input", "target")


def draw(generator, dtype, size):
    n, m = size.n, size.m
    logits = elements.score_normal(generator, size)
    weight = some_zero(uniform(generator, n, m))
    inputs = {
        "input": logits,
        "input_sharp": 40 * logits,
        "input_poisoned": elements.poison_where_0(logits, weight),
        "target": uniform(generator, n, m),
        "weight": weight,
        "weight_of_columns": some_zero(uniform(generator, m)),
        "weight_of_rows": some_zero(uniform(generator, n, 1)),
        "weight_of_all": uniform(generator),
        "pos_weight": 3 * uniform(generator, m),
    }
    inputs = {name: value.to(dtype) for name, value in inputs.items()}
    labels = uniform(generator, n, m) < 0.4
    return inputs | {
        "labels": labels.to(dtype),
        "labels_integer": labels.long(),
        "labels_boolean": labels,
    }


def variants():
    labels = {"target": "labels"}
    for name, inputs in [
        ("plain", labels),
        ("probabilities", {}),
        ("integer labels", {"target": "labels_integer"}),
        ("boolean labels", {"target": "labels_boolean"}),
        ("weight", {"input": "input_poisoned", "weight": "weight"}),
        ("weight of columns", {"weight": "weight_of_columns"}),
        ("weight of rows", {"weight": "weight_of_rows"}),
        ("weight of all", {"weight": "weight_of_all"}),
        ("pos_weight", labels | {"pos_weight": "pos_weight"}),
        ("sharp", labels | {"input": "input_sharp"}),
        ("all", {"input": "input_poisoned", "weight": "weight", "pos_weight": "pos_weight"}),
    ]:
        yield Variant(name, {}, inputs)


def eager(input, target, **options):
    """torch's own, where it has numbers."""
    if not input.isfinite().all():
        return fastloss.reference.binary_cross_entropy_with_logits(input, target, **options)
    return F.binary_cross_entropy_with_logits(input, target.to(input.dtype), **options)


def edges():
    def call(change):
        return edge(draw, REQUIRED, change)

    def signs(size):
        def change(i):
            target = (i["labels"] > 0).to(i["input"].dtype)
            return {"input": size * (2 * target - 1), "target": target}

        return change

    nothing = torch.zeros(6, 9).tolist()
    log_2 = torch.full((6, 9), 2.0).double().log().tolist()
    yield from elements.common_edges(draw, REQUIRED)
    yield Edge("logits 0", call(lambda i: {"input": 0 * i["input"]}), rows=log_2)
    yield Edge("all weights 0", call(lambda i: {"weight": 0 * i["weight"]}), rows=nothing)
    yield Edge("right at infinity", call(signs(INF)), rows=nothing)
    yield Edge("wrong at infinity", call(signs(-INF)))
    yield Edge("right by 30", call(signs(30.0)))
    yield Edge("wrong by 1e4", call(signs(-1e4)), rows=torch.full((6, 9), 1e4).tolist())
    yield Edge("wrong by 1e30", call(signs(-1e30)))
    yield Edge("targets beyond [0, 1]", call(lambda i: {"target": 3 * i["target"] - 1}), terms=5.0)


def errors():
    # The good call: input (4, 6), target (4, 6).
    yield from score_errors("input", (4, 6))
    yield from beside_errors("target", 4, 6, integer=True)
    yield from elements.repeated_weight_errors("weight")
    yield from elements.repeated_weight_errors("pos_weight")
    yield from bad.choice_errors("reduction", "batchmean")


def _mirror(arguments, generator):
    """The other class is the same problem with the other sign."""
    if arguments.get("pos_weight") is not None or arguments["target"].dtype == torch.bool:
        return None
    changed = {"input": -arguments["input"], "target": 1 - arguments["target"]}
    return arguments | changed, lambda rows: rows


def _pos_weight(arguments, generator):
    """For labels, weighting the positive term is weighting the positives."""
    target, factor = arguments["target"], arguments.get("pos_weight")
    if factor is None or ((target != 0) & (target != 1)).any():
        return None
    weight = torch.where(target == 1, factor, 1.0)
    return arguments | {"pos_weight": None, "weight": weight}, lambda rows: rows


CASE = Case(
    name="binary_cross_entropy_with_logits",
    module="BCEWithLogitsLoss",
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
    few=("plain", "boolean labels", "weight of columns", "all"),
    eager=eager,
    invariances=(
        rows_permuted("input", "target", "weight"),
        elements.columns_permuted("input", "target", "weight", "pos_weight"),
        Invariance("mirrored", _mirror),
        Invariance("positive weight as weight", _pos_weight),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=elements.bound,
)
