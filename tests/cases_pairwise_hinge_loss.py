"""pairwise_hinge_loss: its variants, edges and errors."""

from __future__ import annotations

import torch

from bad_arguments import put
from case import Case, Edge, Error, Invariance
from list_edges import (
    call,
    drawn,
    list_edges,
    pair_sum_edges,
    pair_sum_errors,
)
from ranking import (
    FEW,
    ITEMS,
    LARGE,
    PAIR_SUM_INVARIANCES,
    SIZES,
    SMALL,
    THREAD_SIZES,
    ListSize,
    draw_lists,
    list_memory_bound,
    variant,
)

LABEL_DIFF = {"pair_weight": "label_diff"}
# Scores lie on a lattice, margins do not: no pair is so near its kink that rounding decides.
MARGIN = {"margin": 0.7}
SQUARED = {"margin": 0.7, "power": 2}


def variants():
    yield variant("padded", "plain", MARGIN)
    yield variant("padded", "squared", SQUARED)
    yield variant("padded", "sharp", {"margin": 0.01})
    yield variant("padded", "wide", {"margin": 50.3})
    yield variant("padded", "two labels", MARGIN, labels="labels_binary")
    yield variant("padded", "real labels", SQUARED, labels="labels_real")
    yield variant("padded", "label_diff", MARGIN | LABEL_DIFF)
    yield variant("padded", "weights", MARGIN, "weights")
    yield variant("padded", "list weights", MARGIN, "list_weights")
    yield variant("masked", "plain", MARGIN)
    yield variant("masked", "sharp", {"margin": 0.01, "method": "sorted"})
    yield variant("single", "plain", MARGIN)
    yield variant("single", "all", SQUARED, "weights", "list_weights")
    yield variant("ragged", "plain", MARGIN)
    for method in ("auto", "pairs", "sorted"):
        for power in (1, 2):
            name = "" if method == "auto" else f"{method} "
            options = MARGIN | {"method": method, "power": power}
            weights = ("weights", "list_weights")
            names = (f"{name}all", f"{name}squared all")
            yield variant("ragged", names[power - 1], options, *weights)
            yield variant(
                "masked",
                names[power - 1].replace("all", "label_diff all"),
                options | LABEL_DIFF,
                *weights,
                labels="labels_real",
            )
        if method != "auto":
            for power in (1, 2):
                options = MARGIN | {"method": method, "power": power}
                yield variant(
                    "ragged", f"{method} two labels {power}", options, labels="labels_binary"
                )


def _scale(arguments, generator):
    """A factor of scores and margin is one of the loss, or its square."""
    factor = 4.0 ** arguments.get("power", 1)
    changed = {"scores": 4 * arguments["scores"], "margin": 4 * arguments.get("margin", 1.0)}
    return arguments | changed, lambda rows: factor * rows


def kinks(name="", **options):
    """Many pairs exactly at the margin: scores and margin lie on a lattice of ¼."""

    def on_the_lattice(inputs):
        scores = (inputs["scores"] * 4).round() / 4
        return {"scores": scores, "labels": inputs["labels"]}

    for method in ("pairs", "sorted"):
        for power in (1, 2):
            given = options | {"method": method, "power": power}
            for margin in (0.0, 0.5, 1.0):
                arguments = drawn(on_the_lattice, ListSize(3, 90), margin=margin, **given)
                yield Edge(f"{name}{method}: kinks at {margin}, power {power}", arguments)
            exact = call([[1.5, 0.5, 1.5]], [[1, 0, 0]])

            def at_the_margin(dtype, exact=exact, given=given):
                return exact(dtype) | {"margin": 1.0} | given

            yield Edge(
                f"{name}{method}: one at the margin, power {power}", at_the_margin, rows=[1.0]
            )


def errors():
    yield from pair_sum_errors()
    for value in (-0.1, -1, float("nan"), float("inf")):
        yield Error(f"margin {value}", put(margin=value), ValueError, "margin")
    for value in ("1", None, True, torch.tensor(1.0)):
        yield Error(f"margin {value!r}", put(margin=value), TypeError, "margin")
    for value in (0, 3, -1):
        yield Error(f"power {value}", put(power=value), ValueError, "power")
    for value in (1.0, "1", None, True):
        yield Error(f"power {value!r}", put(power=value), TypeError, "power")


CASE = Case(
    name="pairwise_hinge_loss",
    module="PairwiseHingeLoss",
    module_options=("margin", "power", "pair_weight", "method"),
    draw=draw_lists,
    required=("scores", "labels"),
    operands=("scores",),
    follows_autocast=False,
    coupled=ITEMS,
    sizes=SIZES,
    small=SMALL,
    large=LARGE,
    thread_sizes=THREAD_SIZES,
    few=FEW,
    variants=tuple(variants()),
    differentiable=("scores",),
    invariances=(*PAIR_SUM_INVARIANCES, Invariance("scaled", _scale)),
    edges=(
        *list_edges(margin=0.7),
        *pair_sum_edges(margin=0.7),
        *pair_sum_edges("squared", margin=0.7, power=2),
        *kinks(),
        *kinks("label_diff, ", pair_weight="label_diff"),
    ),
    errors=tuple(errors()),
    memory_bound=list_memory_bound,
)
