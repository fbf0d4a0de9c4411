"""cross_entropy: its variants, edges and errors. Classes are columns."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

import bad_arguments as bad
import fastloss.reference
from bad_arguments import LONG, put, shape
from case import Case, Edge, Error, Invariance, Variant
from scores import (
    INF,
    LARGE,
    NAN,
    SIZES,
    SMALL,
    THREAD_SIZES,
    beside_errors,
    doubled,
    edge,
    negative_error,
    normal,
    rows_permuted,
    score_errors,
    seeded,
    some_zero,
    uniform,
    value_errors,
    vectors_bound,
)

REQUIRED = ("input", "target")


def draw(generator, dtype, size):
    """In two layouts: a row at each of n, and (…_places) a row at each of n × p places."""
    n, c, p = size.n, size.m, size.p
    inputs = {}
    for layout, rows in (("", ()), ("_places", (p,))):
        logits = normal(generator, n, c, *rows) * size.scale + size.offset
        target = torch.randint(max(c, 1), (n, *rows), generator=generator)
        removed = uniform(generator, n, c, *rows) < 0.2
        if n > 3:  # few rows are ordinary ones
            removed[1] = True  # all but the target
        removed.scatter_(1, target.unsqueeze(1), False)
        if n > 3:
            removed[2] = True  # nothing left
        ignoring = target.clone()
        ignoring[1::4] = -100
        poisoned = logits.clone()
        poisoned[1::4] = NAN
        soft = normal(generator, n, c, *rows).softmax(1)
        soft[:, 1::3] = 0  # and the rest does not sum to 1
        inputs |= {
            f"input{layout}": logits.to(dtype),
            f"input_sharp{layout}": (40 * logits).to(dtype),
            f"input_removing{layout}": logits.masked_fill(removed, -INF).to(dtype),
            f"input_poisoned{layout}": poisoned.to(dtype),
            f"target{layout}": target,
            f"target_ignoring{layout}": ignoring,
            f"soft{layout}": soft.to(dtype),
            f"soft_removing{layout}": soft.masked_fill(removed, 0).to(dtype),
        }
    return inputs | {"weight": some_zero(uniform(generator, c)).to(dtype)}


def variants():
    weight = {"weight": "weight"}
    removing = {"input": "input_removing"}
    poisoned = {"input": "input_poisoned", "target": "target_ignoring"}
    soft = {"target": "soft"}
    places = {"input": "input_places", "target": "target_places"}
    for name, options, inputs in [
        ("classes, plain", {}, {}),
        ("classes, weight", {}, weight),
        ("classes, removing", {}, removing),
        ("classes, ignoring", {}, poisoned),
        ("classes, ignoring class 2", {"ignore_index": 2}, {}),
        ("classes, ignoring nothing", {"ignore_index": None}, {}),
        ("classes, smoothing", {"label_smoothing": 0.2}, {}),
        ("classes, smoothing complete", {"label_smoothing": 1.0}, weight),
        ("classes, smoothing removing", {"label_smoothing": 0.2}, removing | weight),
        ("classes, sharp", {}, {"input": "input_sharp"}),
        ("classes, ignoring all", {}, poisoned | weight),
        ("classes, smoothing all", {"label_smoothing": 0.1}, poisoned | weight),
        ("classes at places, plain", {}, places),
        (
            "classes at places, smoothing all",
            {"label_smoothing": 0.1},
            {"input": "input_poisoned_places", "target": "target_ignoring_places"} | weight,
        ),
        ("probabilities, plain", {}, soft),
        ("probabilities, weight", {}, soft | weight),
        ("probabilities, removing", {}, removing | {"target": "soft_removing"}),
        ("probabilities, sharp", {}, soft | {"input": "input_sharp"}),
        ("probabilities, smoothing complete", {"label_smoothing": 1.0}, soft),
        (
            "probabilities, smoothing all",
            {"label_smoothing": 0.1},
            removing | {"target": "soft_removing"} | weight,
        ),
        (
            "probabilities at places, all",
            {"label_smoothing": 0.1},
            {"input": "input_places", "target": "soft_places"} | weight,
        ),
    ]:
        yield Variant(name, options, inputs)


def eager(input, target, *, ignore_index=-100, **options):
    """torch's own, where it has numbers. It ignores something: no class is the smallest int64."""
    if not input.isfinite().all():
        options |= {"ignore_index": ignore_index}
        return fastloss.reference.cross_entropy(input, target, **options)
    ignore_index = -(2**63) if ignore_index is None else ignore_index
    return F.cross_entropy(input, target, ignore_index=ignore_index, **options)


def edges():
    def call(change, size=None):
        return edge(draw, REQUIRED, change, size)

    def with_soft(change):
        return call(lambda i: {"target": i["soft"]} | change(i))

    def all_ignored(i):
        return {"target": torch.full((6,), -100), "input": torch.full_like(i["input"], NAN)}

    def one_kept(i):
        target = torch.full((6,), -100)
        target[4] = i["target"][4]
        return {"target": target}

    def changed_logit(row, column, value):
        def change(i):
            logits = i["input"].clone()
            logits[row, column] = value
            return {"input": logits}

        return change

    def target_removed(i):
        return changed_logit(2, int(i["target"][2]), -INF)(i)

    def weight_of_targets(i):
        weight = i["weight"] + 0.5
        weight[i["target"]] = 0
        return {"weight": weight}

    def one_left(i):
        return {"input": i["input"].masked_fill(torch.arange(9) != 3, -INF),
                "target": torch.full((6,), 3)}  # fmt: skip

    def smoothed(change):
        return lambda i: change(i) | {"label_smoothing": 0.3}

    def strided(i):
        wide = normal(seeded(5), 12, 18).to(i["input"].dtype)
        return {"input": wide[::2, ::2], "target": i["target"].repeat_interleave(2)[::2]}

    def transposed(i):
        return {"input": i["input"].T.contiguous().T}

    def expanded(i):
        return {"input": i["input"][:1].expand(6, 9), "target": torch.tensor([2]).expand(6)}

    def certain(i):
        return {"input": 60.0 * F.one_hot(i["target"], 9).to(i["input"].dtype)}

    def soft_without_mass(i):
        return {"target": torch.zeros_like(i["soft"])}

    def of_float32(i):
        return {"target": i["soft"].float()}

    def infinite_where_target_is_0(i):
        return changed_logit(2, 1, -INF)(i)  # column 1 of soft is 0

    def infinite_where_target_is_not(i):
        return changed_logit(2, 2, -INF)(i)

    nothing, log_9 = [0.0] * 6, math.log(9)
    yield Edge("all ignored", call(all_ignored), rows=nothing)
    yield Edge("all ignored, smoothed", call(smoothed(all_ignored)), rows=nothing)
    yield Edge("one row kept", call(one_kept))
    yield Edge("ignored index is a class", call(lambda i: {"ignore_index": int(i["target"][0])}))
    yield Edge("targets of weight 0", call(weight_of_targets), rows=nothing)
    yield Edge("targets of weight 0, smoothed", call(smoothed(weight_of_targets)))
    yield Edge("all weights 0", call(lambda i: {"weight": 0 * i["weight"]}), rows=nothing)
    yield Edge("target removed", call(target_removed))
    yield Edge("target removed, smoothed", call(smoothed(target_removed)))
    yield Edge("target removed, weight 0",
               call(lambda i: target_removed(i) | weight_of_targets(i)), rows=nothing)  # fmt: skip
    yield Edge("all removed", call(lambda i: {"input": i["input"] - INF}), rows=nothing)
    yield Edge("all removed, smoothed", call(smoothed(lambda i: {"input": i["input"] - INF})),
               rows=nothing)  # fmt: skip
    yield Edge("one class left", call(smoothed(one_left)), rows=nothing)
    yield Edge("all equal", call(lambda i: {"input": 0 * i["input"]}), rows=[log_9] * 6)
    yield Edge("certain", call(certain), rows=[8.0 * math.exp(-60)] * 6)
    yield Edge("1e4 apart", call(lambda i: {"input": 1e4 * i["input"]}))
    yield Edge("around -3000", call(lambda i: {"input": i["input"] - 3000.0}))
    yield Edge("around +3000", call(smoothed(lambda i: {"input": i["input"] + 3000.0})))
    yield Edge("around 1e30", call(lambda i: {"input": 0 * i["input"] + 1e30}), rows=[log_9] * 6)
    yield Edge("no rows", call(lambda i: {}, SMALL._replace(n=0)), rows=[])
    yield Edge("no rows, no classes", call(lambda i: {}, SMALL._replace(n=0, m=0)), rows=[])
    yield Edge("no places", call(lambda i: {"input": i["input_places"],
               "target": i["target_places"]}, SMALL._replace(p=0)))  # fmt: skip
    yield Edge("one class", call(smoothed(lambda i: {}), SMALL._replace(m=1)), rows=[0.0] * 4)
    yield Edge("one row without a batch",
               call(lambda i: {"input": i["input"][2], "target": i["target"][2]}))  # fmt: skip
    yield Edge("strided", call(strided))
    yield Edge("transposed", call(transposed))
    yield Edge("expanded", call(expanded))
    yield Edge("NaN logit", call(changed_logit(2, 4, NAN)), gradients=False)
    yield Edge("infinite logit", call(changed_logit(2, 4, INF)), gradients=False)
    yield Edge("probabilities: one row", with_soft(lambda i: {"input": i["input"][2],
               "target": i["soft"][2]}))  # fmt: skip
    yield Edge("probabilities: no mass", with_soft(soft_without_mass), rows=nothing)
    yield Edge("probabilities: no mass, smoothed", with_soft(smoothed(soft_without_mass)))
    yield Edge("probabilities: of float32", with_soft(of_float32))
    yield Edge("probabilities: 0 at -inf", with_soft(infinite_where_target_is_0))
    yield Edge("probabilities: not 0 at -inf", with_soft(infinite_where_target_is_not))
    yield Edge("probabilities: all removed", with_soft(lambda i: {"input": i["input"] - INF}),
               rows=nothing)  # fmt: skip
    yield Edge("probabilities: around +3000",
               with_soft(smoothed(lambda i: {"input": i["input"] + 3000.0})))  # fmt: skip
    yield Edge("probabilities: NaN logit", with_soft(changed_logit(2, 4, NAN)), gradients=False)


def errors():
    # The good call: input (4, 6), target (4,).
    yield from score_errors("input", (4, 6))
    yield Error("input 0-D", shape("input"), ValueError, "input")
    for error in bad.index_errors("target"):
        if error.name != "target float":  # probabilities, of which there are too few
            yield error
    yield Error("too few probabilities", shape("target", 4), ValueError, "target")
    yield Error("target of input's shape", shape("target", 4, 6, dtype=LONG), ValueError, "target")
    yield Error("input of places", shape("input", 4, 6, 2), ValueError, "target")
    ignored = torch.tensor([0, -100, 2, 3])
    yield Error("ignored, but nothing is",
                put(target=ignored, ignore_index=None), ValueError, "target")  # fmt: skip
    soft = torch.full((4, 6), 1 / 6)

    def with_soft(error):
        return Error(f"probabilities: {error.name}",
                     lambda good: error.change(good | {"target": soft}), error.exception,
                     error.mentions)  # fmt: skip

    for error in beside_errors("target", 4, 6, integer=True):
        yield with_soft(error)
    for error in value_errors("target", -0.1, 1.1, 2.0, INF, like="target"):
        yield with_soft(error)
    yield with_soft(Error("ignore_index", put(ignore_index=2), ValueError, "ignore_index"))
    yield from beside_errors("weight", 6)
    yield negative_error("weight", 6)
    for wrong in (1.5, "0", True):
        yield Error(f"ignore_index {wrong}", put(ignore_index=wrong), TypeError, "ignore_index")
    yield from bad.smoothing_errors()
    yield from bad.choice_errors("reduction", "batchmean")


def _shift(arguments, generator):
    """A constant added to all logits of a row changes nothing."""
    logits = arguments["input"]
    offset = torch.randn(len(logits), *[1] * (logits.dim() - 1), generator=generator)
    return arguments | {"input": logits + offset.to(logits.dtype)}, lambda rows: rows


def _one_hot(arguments, generator):
    """A class is the distribution that is certain of it."""
    target = arguments["target"]
    if target.is_floating_point() or arguments.get("ignore_index", -100) != -100:
        return None
    if (target < 0).any() or arguments["input"].dim() != 2:
        return None
    soft = F.one_hot(target, arguments["input"].shape[1]).to(arguments["input"].dtype)
    return arguments | {"target": soft}, lambda rows: rows


def _places_as_rows(arguments, generator):
    if arguments["input"].dim() < 3:
        return None
    rows = arguments["input"].movedim(1, -1).flatten(0, -2)
    target = arguments["target"]
    if target.is_floating_point():
        target = target.movedim(1, -1).flatten(0, -2)
    return arguments | {
        "input": rows,
        "target": target.flatten() if target.dtype == LONG else target,
    }, torch.flatten


CASE = Case(
    name="cross_entropy",
    module="CrossEntropyLoss",
    module_options=("ignore_index", "label_smoothing"),
    draw=draw,
    required=REQUIRED,
    operands=("input",),
    sizes=SIZES,
    small=SMALL,
    large=LARGE,
    variants=tuple(variants()),
    differentiable=("input",),
    follows_autocast=False,
    coupled=("input", "target"),
    thread_sizes=THREAD_SIZES,
    few=(
        *("classes, plain", "classes, smoothing all", "classes at places, smoothing all"),
        *("probabilities, smoothing all", "probabilities at places, all"),
    ),
    eager=eager,
    invariances=(
        rows_permuted("input", "target"),
        Invariance("logits shifted", _shift),
        Invariance("class as distribution", _one_hot),
        Invariance("places as rows", _places_as_rows),
        doubled(
            "weight",
            lambda arguments: torch.ones_like(
                arguments["input"][0].flatten(1)[:, 0]
                if arguments["input"].dim() > 2
                else arguments["input"][0]
            ),
        ),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=lambda arguments, wrt: vectors_bound(arguments, wrt, per_row=8),
)
