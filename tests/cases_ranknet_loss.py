"""ranknet_loss: its variants, edges and errors."""

from __future__ import annotations

import bad_arguments as bad
from bad_arguments import put
from case import Case, Error, Invariance
from list_edges import (
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
    draw_lists,
    list_memory_bound,
    variant,
)

LABEL_DIFF = {"pair_weight": "label_diff"}
HALF = {"ties": "half"}
MANY = {"sigma": 0.7, "ties": "half", "log_base": 2}


def variants():
    yield variant("padded", "plain")
    yield variant("padded", "sharp", {"sigma": 25.0})
    yield variant("padded", "flat", {"sigma": 0.01})
    yield variant("padded", "two labels", None, labels="labels_binary")
    yield variant("padded", "real labels", None, labels="labels_real")
    yield variant("padded", "half", HALF)
    yield variant("padded", "label_diff", LABEL_DIFF)
    yield variant("padded", "base", {"log_base": 10.0})
    yield variant("padded", "weights", None, "weights")
    yield variant("padded", "list weights", None, "list_weights")
    yield variant("masked", "plain")
    yield variant("masked", "sharp", {"sigma": 25.0, "method": "sorted"})
    yield variant("single", "plain")
    yield variant("single", "all", MANY, "weights", "list_weights")
    yield variant("ragged", "plain")
    for method in ("auto", "pairs", "sorted"):
        for layout in ("masked", "ragged"):
            name = "" if method == "auto" else f"{method} "
            options = MANY | {"method": method}
            yield variant(layout, f"{name}all", options, "weights", "list_weights")
            yield variant(
                layout,
                f"{name}label_diff all",
                options | LABEL_DIFF,
                *("weights", "list_weights"),
                labels="labels_real",
            )
        if method != "auto":
            yield variant("padded", f"{method} half", HALF | {"method": method})
            two = {"method": method} | HALF
            yield variant("ragged", f"{method} two labels", two, labels="labels_binary")


def _scale(arguments, generator):
    """A factor of the scores is one of sigma."""
    sigma = arguments.get("sigma", 1.0)
    return arguments | {"scores": arguments["scores"] / 4, "sigma": sigma * 4}, lambda rows: rows


def errors():
    yield from pair_sum_errors()
    for value in (0.0, -1.0, float("nan"), float("inf")):
        yield Error(f"sigma {value}", put(sigma=value), ValueError, "sigma")
    for value in ("1", None, True):
        yield Error(f"sigma {value!r}", put(sigma=value), TypeError, "sigma")
    for value in (1.0, 0.5, 0, -2, float("nan"), float("inf")):
        yield Error(f"log_base {value}", put(log_base=value), ValueError, "log_base")
    for value in ("e", True):
        yield Error(f"log_base {value!r}", put(log_base=value), TypeError, "log_base")
    yield from bad.choice_errors("ties", "both")


CASE = Case(
    name="ranknet_loss",
    module="RankNetLoss",
    module_options=("sigma", "ties", "pair_weight", "method", "log_base"),
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
        *list_edges(ties="half"),
        *pair_sum_edges(),
        *pair_sum_edges("half", ties="half"),
    ),
    errors=tuple(errors()),
    memory_bound=list_memory_bound,
)
