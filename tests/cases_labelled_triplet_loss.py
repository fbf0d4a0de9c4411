"""labelled_triplet_loss: its variants, edges and errors."""

from __future__ import annotations

import torch

import bad_arguments as bad
import metric
from case import Case, Edge, Invariance, Variant

OPERANDS = ("anchor", "positive", "negative")
REQUIRED = (*OPERANDS, "label")


def variants():
    for name, options, inputs in [
        ("plain", {}, {}),
        ("no margin", {"margin": 0.0}, {"label": "label_boolean"}),
        ("soft", {"margin": 0.3, "hinge": "softplus"}, {}),
        ("all", {"margin": 0.7, "hinge": "none"}, {"label": "label_float"}),
    ]:
        yield Variant(name, options, inputs)


def edges():
    yield from metric.row_edges(REQUIRED)
    yield from metric.row_edges(REQUIRED, hinge="none")

    def line(*places):
        def arguments(dtype):
            rows = {
                name: torch.full((2, 1), place, dtype=dtype)
                for name, place in zip(OPERANDS, places, strict=True)
            }
            return rows | {"label": torch.tensor([1, 0])}

        return arguments

    # 2 · 1 − 4 − 1 + 1 = −2, and exchanged 2 · 1 − 4 − 1 + 1.
    yield Edge("between two", line(0.0, 1.0, -1.0), rows=[0.0, 0.0])
    # 2 · 4 − 1 − 1 + 1, and exchanged 2 · 1 − 1 − 4 + 1.
    yield Edge("negative between", line(0.0, 2.0, 1.0), rows=[7.0, 0.0])


def errors():
    # The good call: (4, 3) three times, label (4,).
    yield from metric.row_errors(*OPERANDS)
    yield from metric.label_errors()
    yield from metric.margin_errors()
    yield from bad.choice_errors("hinge", "squared")
    yield from bad.choice_errors("reduction", "batchmean")


def _exchange(arguments, generator):
    """Positive and negative exchange names with the label."""
    label = arguments["label"]
    changed = {
        "positive": arguments["negative"],
        "negative": arguments["positive"],
        "label": (1 - label.long()).to(label.dtype),
    }
    return arguments | changed, lambda rows: rows


def _exchange_near(arguments, generator):
    """The two rows that belong together are alike: their exchange changes nothing."""
    first = (arguments["label"] == 1)[:, None]
    a, p, n = (arguments[name] for name in OPERANDS)
    changed = {
        "anchor": torch.where(first, p, n),
        "positive": torch.where(first, a, p),
        "negative": torch.where(first, n, a),
    }
    return arguments | changed, lambda rows: rows


CASE = Case(
    name="labelled_triplet_loss",
    module="LabelledTripletLoss",
    module_options=("margin", "hinge"),
    draw=metric.draw,
    required=REQUIRED,
    operands=OPERANDS,
    sizes=metric.SIZES,
    small=metric.SMALL,
    large=metric.LARGE,
    variants=tuple(variants()),
    differentiable=OPERANDS,
    follows_autocast=False,
    coupled=REQUIRED,
    thread_sizes=metric.THREAD_SIZES,
    few=("all",),
    invariances=(
        *metric.invariances(OPERANDS, ("label",)),
        Invariance("labels exchanged", _exchange),
        Invariance("near rows exchanged", _exchange_near),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=metric.bound,
)
