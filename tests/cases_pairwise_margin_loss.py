"""pairwise_margin_loss: its variants, edges and errors."""

from __future__ import annotations

import math

import sampled
from bad_arguments import put
from case import Case, Edge, Error


def variants():
    # Between two points of the lattice: no pair is at the kink.
    yield from sampled.pair_variants(margin=1 + 1 / 128)


def edges():
    yield from sampled.pair_edges()
    at_margin = {"positive": 1.0, "negative": 0.0}
    yield Edge("at the kink", sampled.call(lambda i: {n: 0 * i[n] + x for n, x in
               at_margin.items()}), rows=[0.0] * 6)  # fmt: skip
    yield Edge("no margin", sampled.call(lambda i: {"margin": 0.0}))
    yield Edge("all equal", sampled.call(lambda i: {n: 0 * i[n] for n in sampled.REQUIRED}
               | {"margin": 2}), rows=[54.0] * 6)  # fmt: skip


def errors():
    yield from sampled.pair_errors()
    for wrong in (-0.5, math.nan, math.inf):
        yield Error(f"margin {wrong}", put(margin=wrong), ValueError, "margin")
    for wrong in ("1", None, True):
        yield Error(f"margin {wrong}", put(margin=wrong), TypeError, "margin")


CASE = Case(
    name="pairwise_margin_loss",
    module="PairwiseMarginLoss",
    module_options=("margin",),
    draw=sampled.draw,
    required=sampled.REQUIRED,
    operands=sampled.REQUIRED,
    sizes=sampled.SIZES,
    small=sampled.SMALL,
    large=sampled.LARGE,
    variants=tuple(variants()),
    differentiable=sampled.REQUIRED,
    follows_autocast=False,
    coupled=sampled.COUPLED,
    thread_sizes=sampled.THREAD_SIZES,
    few=("plain", "one of each", "all"),
    invariances=sampled.PAIR_INVARIANCES,
    edges=tuple(edges()),
    errors=tuple(errors()),
    recomputes_none=False,
    memory_bound=sampled.bound,
)
