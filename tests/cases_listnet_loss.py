"""listnet_loss: its variants, edges and errors."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

import bad_arguments as bad
from bad_arguments import put
from case import Case, Edge, Error, Invariance
from list_edges import (
    call,
    drawn,
    list_edges,
    list_errors,
)
from ranking import (
    FEW,
    INF,
    ITEMS,
    LIST_INVARIANCES,
    SIZES,
    SMALL,
    THREAD_SIZES,
    ListSize,
    draw_lists,
    list_memory_bound,
    variant,
)

TARGETS = ("softmax", "normalize", "raw", "gain")


def variants():
    yield variant("padded", "plain")
    yield variant("padded", "sharp", {"label_temperature": 0.05})
    yield variant("padded", "flat", {"label_temperature": 30.0})
    yield variant("padded", "list weights", None, "list_weights")
    yield variant("masked", "plain")
    yield variant("masked", "sharp", {"label_temperature": 0.05})
    yield variant("single", "plain")
    yield variant("single", "all", {"label_temperature": 0.6}, "list_weights")
    yield variant("ragged", "plain")
    for target in TARGETS:
        for gain in ("exp2", "linear") if target == "gain" else ("exp2",):
            name = target if target != "gain" else f"{gain} gain"
            options = {"target": target, "gain": gain, "label_temperature": 1.5}
            yield variant("padded", name, options)
            yield variant("masked", f"{name} all", options, "list_weights", labels="labels_real")
            yield variant("ragged", f"{name} all", options, "list_weights")
    yield variant("ragged", "all", {"label_temperature": 1.5}, "list_weights")
    yield variant("padded", "two labels", {"target": "raw"}, labels="labels_binary")
    yield variant("padded", "two labels normalized", {"target": "normalize"},
                  labels="labels_binary")  # fmt: skip


# ------------------------------------------------------------------------------------ invariances


def _labels_shifted(arguments, generator):
    """A softmax of labels, like one of scores, sees differences only."""
    if arguments.get("target", "softmax") != "softmax":
        return None
    return arguments | {"labels": arguments["labels"] + 5.0}, lambda rows: rows


def _labels_scaled(arguments, generator):
    """A factor of the labels is one of the temperature, of nothing, or of the loss."""
    target, temperature = arguments.get("target", "softmax"), arguments.get("label_temperature", 1)
    changed = {"labels": 2.0 * arguments["labels"]}
    if target == "softmax":
        changed["label_temperature"] = 2.0 * temperature
    if target == "gain" and arguments.get("gain", "exp2") == "exp2":
        return None
    factor = 1.0 if target in ("softmax", "normalize") else 2.0
    return arguments | changed, lambda rows: factor * rows


# ------------------------------------------------------------------------------------------ edges


def edges():
    for edge in list_edges():
        yield replace(edge, terms=1000.0) if "1000" in edge.name else edge

    def scaled(factor):
        return lambda inputs: (
            {k: inputs[k] for k in ("labels",)} | {"scores": factor * inputs["scores"]}
        )

    for target in ("normalize", "raw", "gain"):
        yield Edge(f"{target}: no relevant item", call([[1.0, 2.0]], [[0, 0]], target=target),
                   rows=[0.0])  # fmt: skip
        yield Edge(
            f"{target}: one list without a relevant item",
            call([[1.0, 2.0], [0.5, 0.25]], [[0, 0], [0, 1]], target=target),
        )
        # P = 0 at −∞: 0 · ∞ must not come up. The others' log-softmax is that of two items.
        yield Edge(
            f"{target}: score of −inf without a target",
            call([[0.0, -INF, 0.0]], [[1, 0, 0]], target=target),
            rows=[math.log(2.0)],
        )
    yield Edge("raw: score of −inf with a target", call([[0.0, -INF]], [[0, 1]], target="raw"),
               rows=[INF])  # fmt: skip
    for score, label in ((3.0, 2), (-1e4, 1)):
        yield Edge(f"one item of score {score:g}", call([[score]], [[label]]), rows=[0.0],
                   terms=abs(score))  # fmt: skip
    yield Edge("one item left", call([[1.0, math.nan]], [[2, -1]], where=[[True, False]]),
               rows=[0.0])  # fmt: skip
    for factor in (1e4, 1e-4):
        yield Edge(f"scores times {factor:g}", drawn(scaled(factor)), terms=max(factor, 1.0))
    yield Edge("labels of 1000", call([[1.0, 2.0, 0.5]], [[1000, 999, 0]]))
    yield Edge("large real labels", call([[1.0, 2.0, 0.5]], [[1e30, 3.0, 1e30]]))


def errors():
    yield from list_errors()
    yield from bad.choice_errors("target", "top1")
    yield from bad.choice_errors("gain", "exp")
    name = "label_temperature"
    for value in (0.0, -1.0, float("nan"), float("inf")):
        yield Error(f"{name} {value}", put(label_temperature=value), ValueError, name)
    for value in ("1", None, True, torch.tensor(1.0)):
        yield Error(f"{name} {value!r}", put(label_temperature=value), TypeError, name)


CASE = Case(
    name="listnet_loss",
    module="ListNetLoss",
    module_options=("target", "label_temperature", "gain"),
    draw=draw_lists,
    required=("scores", "labels"),
    operands=("scores",),
    follows_autocast=False,
    coupled=ITEMS,
    sizes=SIZES,
    small=SMALL,
    large=ListSize(128, 5_000),  # a pass over it takes milliseconds
    thread_sizes=THREAD_SIZES,
    few=FEW,
    variants=tuple(variants()),
    differentiable=("scores",),
    invariances=(
        *LIST_INVARIANCES,
        Invariance("labels shifted", _labels_shifted),
        Invariance("labels scaled", _labels_scaled),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=list_memory_bound,
)
