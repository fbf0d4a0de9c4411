"""Inputs, variants, edges and errors shared by the losses of positives against negatives."""

from __future__ import annotations

import torch

import bad_arguments as bad
from bad_arguments import shape
from case import Edge, Error, Invariance, Variant
from scores import (
    INF,
    LARGE,
    NAN,
    ScoreSize,
    along,
    beside_errors,
    doubled,
    edge,
    mask_errors,
    negative_error,
    normal,
    rows_permuted,
    score_errors,
    some_zero,
    uniform,
)

REQUIRED = ("positive", "negative")
# n rows of p positives and m negatives: vectors of 16 and their remainders, either side the longer
# one, one pair a row (and more than a task of them).
SIZES = (
    ScoreSize(19, 37),
    ScoreSize(3, 1300, 5),
    ScoreSize(1, 1, 1),
    ScoreSize(1025, 1, 1),
    ScoreSize(7, 1),
    ScoreSize(5, 2, 129),
    ScoreSize(300, 16, 1),
    ScoreSize(19, 37, scale=2.0**-10),
    ScoreSize(19, 37, scale=32.0),
    ScoreSize(19, 37, offset=1000.0),
)
SMALL = ScoreSize(4, 6)
THREAD_SIZES = ((1200, 40), (3, 4000))
LARGE = LARGE
COUPLED = (*REQUIRED, "positive_where", "negative_where", "weights")


def draw(generator, dtype, size):
    """Scores lie on a lattice of 1/64: differences are exact in every dtype, and none is near a
    margin that is not on the lattice, where rounding would decide about a gradient."""
    n, m, p = size.n, size.m, size.p

    def scores(*dims):
        lattice = (normal(generator, *dims) * 64).round() / 64
        return lattice * size.scale + size.offset

    def masked(values, where):
        poison = torch.tensor([NAN, INF, -INF], dtype=torch.float64)
        poison = poison[torch.randint(3, values.shape, generator=generator)]
        return torch.where(where, values, poison)

    positive, negative = scores(n, p), scores(n, m)
    positive_where, negative_where = uniform(generator, n, p) < 0.7, uniform(generator, n, m) < 0.7
    negative_where[2:3] = False  # nothing left
    weights = some_zero(uniform(generator, n))
    inputs = {
        "positive": positive,
        "positive_masked": masked(positive, positive_where),
        "negative": negative,
        "negative_sharp": 40 * negative,
        "negative_masked": masked(negative, negative_where),
        "single": positive.reshape(-1)[:n] if p else scores(n),
        "single_negative": scores(n),
        "weights": weights,
        "positive_log_q": uniform(generator, n).log(),
        "negative_log_q": uniform(generator, n, m).log(),
    }
    taken = weights != 0
    single = inputs["single"]
    inputs["single_poisoned"] = torch.where(taken, single, NAN)
    inputs["single_masked"] = masked(single, taken)
    inputs = {name: value.to(dtype) for name, value in inputs.items()}
    temperature = torch.tensor(0.37, dtype=torch.promote_types(dtype, torch.float32))
    return inputs | {
        "positive_where": positive_where,
        "negative_where": negative_where,
        "single_where": taken,
        "temperature": temperature,
    }


def pair_variants(**options):
    negatives = {"negative": "negative_masked", "negative_where": "negative_where"}
    positives = {"positive": "positive_masked", "positive_where": "positive_where"}
    single = {"positive": "single"}
    for name, inputs in [
        ("plain", {}),
        ("one positive", single),
        ("one negative", {"negative": "single_negative"}),
        ("one of each", single | {"negative": "single_negative"}),
        ("one of each, masked",
         {"positive": "single_masked", "positive_where": "single_where",
          "negative": "single_negative"}),
        ("weights", {"weights": "weights"}),
        ("negatives masked", negatives),
        ("positives masked", positives),
        ("sharp", {"negative": "negative_sharp"}),
        ("one of each, all", {"positive": "single_poisoned", "negative": "single_negative",
                              "weights": "weights"}),
        ("all", negatives | positives | {"weights": "weights"}),
    ]:  # fmt: skip
        yield Variant(name, options, inputs)


def call(change, size=None):
    return edge(draw, REQUIRED, change, size or ScoreSize(6, 9))


def pair_edges():
    def nothing_kept(side):
        def change(i):
            where = torch.zeros_like(i[side], dtype=torch.bool)
            return {side: torch.full_like(i[side], NAN), f"{side}_where": where}

        return change

    def changed(side, value):
        def change(i):
            scores = i[side].clone()
            scores[2, 1] = value
            return {side: scores}

        return change

    def strided(i):
        return {"positive": i["positive"].T.contiguous().T,
                "negative": i["negative"].repeat_interleave(2, 1)[:, ::2]}  # fmt: skip

    def expanded(i):
        return {"positive": i["positive"][:1].expand(6, 3),
                "negative": i["negative"][:1].expand(6, 9)}  # fmt: skip

    def no_weight(i):
        return {"weights": torch.zeros(6, dtype=i["positive"].dtype)}

    nothing = [0.0] * 6
    yield Edge("no rows", call(lambda i: {}, SMALL._replace(n=0)), rows=[])
    yield Edge("no negatives", call(lambda i: {}, SMALL._replace(m=0)), rows=[0.0] * 4)
    yield Edge("no positives", call(lambda i: {}, SMALL._replace(p=0)), rows=[0.0] * 4)
    yield Edge("negatives masked", call(nothing_kept("negative")), rows=nothing)
    yield Edge("positives masked", call(nothing_kept("positive")), rows=nothing)
    yield Edge("all weights 0", call(no_weight), rows=nothing)
    yield Edge("strided", call(strided))
    yield Edge("expanded", call(expanded))
    yield Edge("around 1e4", call(lambda i: {n: i[n] + 1e4 for n in REQUIRED}))
    yield Edge("1e4 apart", call(lambda i: {n: 1e4 * i[n] for n in REQUIRED}))
    yield Edge("NaN positive", call(changed("positive", NAN)), gradients=False)
    yield Edge("NaN negative", call(changed("negative", NAN)), gradients=False)
    yield Edge("infinite positive", call(changed("positive", INF)), gradients=False)


def pair_errors():
    # The good call: positive (4, 3), negative (4, 6).
    yield from score_errors("positive", (4, 3))
    yield Error("positive 0-D", shape("positive"), ValueError, "positive")
    yield Error("positive 3-D", shape("positive", 4, 3, 1), ValueError, "positive")
    for dtype in (torch.float64, torch.float16, torch.int64, torch.bool):
        yield Error(f"negative {dtype}", shape("negative", 4, 6, dtype=dtype), TypeError,
                    "negative")  # fmt: skip
    for dims in ((), (3,), (1,), (3, 6), (1, 6), (4, 6, 1)):
        yield Error(f"negative {dims}", shape("negative", *dims), ValueError, "negative")
    yield from mask_errors("positive_where", 4, 3)
    yield from mask_errors("negative_where", 4, 6)
    yield from beside_errors("weights", 4)
    yield negative_error("weights", 4)
    yield from bad.choice_errors("reduction", "batchmean")


def _shift(arguments, generator):
    """A constant added to all scores of a row changes nothing. Powers of two keep the lattice."""
    offset = 2.0 * torch.randint(-8, 8, (len(arguments["positive"]),), generator=generator)

    def moved(scores):
        return scores + offset.to(scores).view(-1, *[1] * (scores.dim() - 1))

    changed = {name: moved(arguments[name]) for name in REQUIRED}
    return arguments | changed, lambda rows: rows


def _mirror(arguments, generator):
    """Positives and negatives exchange roles with the sign."""
    pairs = (("positive", "negative"), ("positive_where", "negative_where"))
    changed = {}
    for a, b in pairs:
        changed |= {a: arguments.get(b), b: arguments.get(a)}
    changed |= {name: -changed[name] for name in REQUIRED}
    return arguments | changed, lambda rows: rows


def _columns(name):
    def change(arguments, generator):
        return along(1, name, f"{name}_where", f"{name}_log_q")(arguments, generator)

    return Invariance(f"{name}s permuted", change)


SHIFTED = Invariance("scores shifted", _shift)
ROWS_PERMUTED = rows_permuted(*COUPLED, "positive_log_q", "negative_log_q")
NEGATIVES_PERMUTED = _columns("negative")
WEIGHTS_DOUBLED = doubled("weights", lambda a: a["positive"].new_ones(len(a["positive"])))
PAIR_INVARIANCES = (
    ROWS_PERMUTED,
    _columns("positive"),
    NEGATIVES_PERMUTED,
    SHIFTED,
    Invariance("sides exchanged", _mirror),
    WEIGHTS_DOUBLED,
)


def bound(arguments, wrt):
    """Gradients of the accumulation type and those returned, O(rows) numbers."""
    gradients = sum(
        (max(4, arguments[n].element_size()) + arguments[n].element_size()) * arguments[n].numel()
        for n in wrt
    )
    rows, columns = len(arguments["positive"]), arguments["negative"].shape[-1]
    return gradients + 8 * 8 * rows + 64 * columns + 64 * 1024
