"""bpr_loss: its variants, edges and errors."""

from __future__ import annotations

import math

import sampled
from case import Case, Edge

CASE = Case(
    name="bpr_loss",
    module="BPRLoss",
    module_options=(),
    draw=sampled.draw,
    required=sampled.REQUIRED,
    operands=sampled.REQUIRED,
    sizes=sampled.SIZES,
    small=sampled.SMALL,
    large=sampled.LARGE,
    variants=tuple(sampled.pair_variants()),
    differentiable=sampled.REQUIRED,
    follows_autocast=False,
    coupled=sampled.COUPLED,
    thread_sizes=sampled.THREAD_SIZES,
    few=("plain", "one of each", "all"),
    invariances=sampled.PAIR_INVARIANCES,
    edges=(
        *sampled.pair_edges(),
        Edge("all equal", sampled.call(lambda i: {n: 0 * i[n] for n in sampled.REQUIRED}),
             rows=[27 * math.log(2)] * 6),
        Edge("right by 30", sampled.call(lambda i: {"positive": 0 * i["positive"] + 30.0,
             "negative": 0 * i["negative"]}), rows=[27 * math.log1p(math.exp(-30))] * 6),
    ),
    errors=tuple(sampled.pair_errors()),
    recomputes_none=False,
    memory_bound=sampled.bound,
)  # fmt: skip
