"""sampled_softmax_loss: its variants, edges and errors."""

from __future__ import annotations

import math

import torch

import bad_arguments as bad
import sampled
from bad_arguments import shape
from case import Case, Edge, Error, Invariance, Variant
from scores import (
    INF,
    NAN,
    ScoreSize,
    beside_errors,
    edge,
    mask_errors,
    negative_error,
    score_errors,
)


def draw(generator, dtype, size):
    inputs = sampled.draw(generator, dtype, size)
    return inputs | {"positive": inputs["single"], "positive_poisoned": inputs["single_poisoned"]}


def variants():
    masked = {"negative": "negative_masked", "negative_where": "negative_where"}
    own, others = {"positive_log_q": "positive_log_q"}, {"negative_log_q": "negative_log_q"}
    weights = {"weights": "weights", "positive": "positive_poisoned"}
    tau = {"temperature": "temperature"}
    for name, options, inputs in [
        ("plain", {}, {}),
        ("temperature", {"temperature": 0.2}, {}),
        ("learnt temperature", {}, tau),
        ("masked", {}, masked),
        ("log q of positives", {}, own),
        ("log q of negatives", {}, others),
        ("weights", {}, weights),
        ("sharp", {"temperature": 0.5}, {"negative": "negative_sharp"}),
        ("all", {}, masked | own | others | weights | tau),
    ]:
        yield Variant(name, options, inputs)


def edges():
    def call(change, size=None):
        return edge(draw, sampled.REQUIRED, change, size or ScoreSize(6, 9))

    def none_kept(i):
        where = torch.zeros_like(i["negative"], dtype=torch.bool)
        return {"negative": torch.full_like(i["negative"], NAN), "negative_where": where,
                "temperature": i["temperature"]}  # fmt: skip

    def changed(name, place, value):
        def change(i):
            scores = i[name].clone()
            scores[place] = value
            return {name: scores}

        return change

    def strided(i):
        return {"positive": i["positive"].repeat_interleave(2)[::2],
                "negative": i["negative"].T.contiguous().T}  # fmt: skip

    log_10, nothing = math.log(10), [0.0] * 6
    yield Edge("no rows", call(lambda i: {"temperature": i["temperature"]},
               sampled.SMALL._replace(n=0)), rows=[])  # fmt: skip
    yield Edge("no negatives", call(lambda i: {"temperature": i["temperature"]},
               sampled.SMALL._replace(m=0)), rows=[0.0] * 4)  # fmt: skip
    yield Edge("negatives masked", call(none_kept), rows=nothing)
    yield Edge("all weights 0", call(lambda i: {"weights": 0 * i["weights"]}), rows=nothing)
    yield Edge("all equal", call(lambda i: {n: 0 * i[n] for n in sampled.REQUIRED}),
               rows=[log_10] * 6)  # fmt: skip
    yield Edge("strided", call(strided))
    yield Edge("around 1e4", call(lambda i: {n: i[n] + 1e4 for n in sampled.REQUIRED}))
    yield Edge("1e4 apart", call(lambda i: {n: 1e4 * i[n] for n in sampled.REQUIRED}))
    yield Edge("a small temperature", call(lambda i: {"temperature": 1e-3}))
    yield Edge("positive won by 30", call(lambda i: {"positive": 0 * i["positive"] + 30.0,
               "negative": 0 * i["negative"]}),
               rows=[math.log1p(9 * math.exp(-30))] * 6)  # fmt: skip
    yield Edge("a negative of -inf", call(changed("negative", (2, 1), -INF)))
    yield Edge("NaN positive", call(changed("positive", 2, NAN)), gradients=False)
    yield Edge("NaN negative", call(changed("negative", (2, 1), NAN)), gradients=False)


def errors():
    # The good call: positive (4,), negative (4, 6).
    yield from score_errors("positive", (4,))
    for dims in ((), (4, 1), (4, 3)):
        yield Error(f"positive {dims}", shape("positive", *dims), ValueError, "positive")
    for dtype in (torch.float64, torch.float16, torch.int64, torch.bool):
        yield Error(f"negative {dtype}", shape("negative", 4, 6, dtype=dtype), TypeError,
                    "negative")  # fmt: skip
    for dims in ((), (4,), (3, 6), (1, 6), (4, 6, 1)):
        yield Error(f"negative {dims}", shape("negative", *dims), ValueError, "negative")
    yield from mask_errors("negative_where", 4, 6)
    yield from beside_errors("positive_log_q", 4)
    yield from beside_errors("negative_log_q", 4, 6)
    yield from beside_errors("weights", 4)
    yield negative_error("weights", 4)
    yield from bad.positive_scalar_errors("temperature")
    yield from bad.choice_errors("reduction", "batchmean")


def _shift_log_q(arguments, generator):
    """Unnormalised q will do: what is added to every log q of a row cancels."""
    own, others = arguments.get("positive_log_q"), arguments.get("negative_log_q")
    if own is None or others is None:
        return None
    offset = torch.randn(len(own), generator=generator).to(own.dtype)
    changed = {"positive_log_q": own + offset, "negative_log_q": others + offset[:, None]}
    return arguments | changed, lambda rows: rows


def _scale(arguments, generator):
    """Scores in another unit, and the temperature with them."""
    changed = {name: 4 * arguments[name] for name in sampled.REQUIRED}
    changed["temperature"] = 4 * arguments.get("temperature", 1.0)
    return arguments | changed, lambda rows: rows


def _append_masked(arguments, generator):
    """Padding that is masked is as good as absent."""
    negative = arguments["negative"]
    n = len(negative)
    where = arguments.get("negative_where")
    where = torch.ones_like(negative, dtype=torch.bool) if where is None else where
    changed = {
        "negative": torch.cat([negative, negative.new_full((n, 2), NAN)], 1),
        "negative_where": torch.cat([where, where.new_zeros(n, 2)], 1),
    }
    if arguments.get("negative_log_q") is not None:
        log_q = arguments["negative_log_q"]
        changed["negative_log_q"] = torch.cat([log_q, log_q.new_full((n, 2), INF)], 1)
    return arguments | changed, lambda rows: rows


CASE = Case(
    name="sampled_softmax_loss",
    module="SampledSoftmaxLoss",
    module_options=("temperature",),
    draw=draw,
    required=sampled.REQUIRED,
    operands=sampled.REQUIRED,
    sizes=sampled.SIZES,
    small=sampled.SMALL,
    large=sampled.LARGE,
    variants=tuple(variants()),
    differentiable=(*sampled.REQUIRED, "temperature"),
    follows_autocast=False,
    coupled=(*sampled.COUPLED, "positive_log_q", "negative_log_q"),
    thread_sizes=sampled.THREAD_SIZES,
    few=("plain", "all"),
    scale=("temperature", "temperature"),
    invariances=(
        sampled.ROWS_PERMUTED,
        sampled.NEGATIVES_PERMUTED,
        sampled.SHIFTED,
        sampled.WEIGHTS_DOUBLED,
        Invariance("log q shifted", _shift_log_q),
        Invariance("scaled", _scale),
        Invariance("masked negatives appended", _append_masked),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    recomputes_none=False,
    memory_bound=sampled.bound,
)
