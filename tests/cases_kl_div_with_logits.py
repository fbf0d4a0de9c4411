"""kl_div_with_logits: its variants, edges and errors. Classes are columns."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import bad_arguments as bad
import fastloss.reference
from bad_arguments import put, shape
from case import Case, Edge, Error, Invariance, Variant
from scores import (
    INF,
    LARGE,
    NAN,
    SIZES,
    SMALL,
    THREAD_SIZES,
    along,
    beside_errors,
    edge,
    normal,
    rows_permuted,
    score_errors,
    uniform,
    value_errors,
    vectors_bound,
)

REQUIRED = ("input", "target")


def draw(generator, dtype, size):
    n, c = size.n, size.m
    logits = normal(generator, n, c) * size.scale + size.offset
    target = normal(generator, n, c).softmax(1)
    partial = target.clone()
    partial[:, 1::3] = 0  # and the rest does not sum to 1
    removed = uniform(generator, n, c) < 0.2
    removed[1:2] = True  # nothing left
    inputs = {
        "input": logits,
        "input_sharp": 40 * logits,
        "input_removing": logits.masked_fill(removed, -INF),
        "input_near": target.log() + 1e-3 * normal(generator, n, c),
        "target": target,
        "target_partial": partial,
        "target_removing": partial.masked_fill(removed, 0),
        "target_log": target.log(),
        "target_log_partial": partial.log(),
    }
    return {name: value.to(dtype) for name, value in inputs.items()}


def variants():
    for direction in ("forward", "reverse"):
        options = {"direction": direction}
        as_log = options | {"log_target": True}
        partial = "target_partial" if direction == "forward" else "target"
        partial_log = "target_log_partial" if direction == "forward" else "target_log"
        removing = "target_removing" if direction == "forward" else "target"
        for name, given, inputs in [
            ("plain", options, {}),
            ("partial", options, {"target": partial}),
            ("log", as_log, {"target": "target_log"}),
            ("sharp", options, {"input": "input_sharp"}),
            ("removing", options, {"input": "input_removing", "target": removing}),
            ("all", as_log, {"target": partial_log}),
        ]:
            yield Variant(f"{direction}, {name}", given, inputs)


def eager(input, target, *, direction="forward", log_target=False, reduction="batchmean"):
    """What a user writes in torch, where logits are finite."""
    if not (input.isfinite().all() and target.isfinite().all()):
        return fastloss.reference.kl_div_with_logits(
            input, target, direction=direction, log_target=log_target, reduction=reduction
        )
    log_p = F.log_softmax(input, -1)
    if direction == "reverse":
        log_t = target if log_target else target.log()
        loss = (log_p.exp() * (log_p - log_t)).sum(-1)
    else:
        loss = F.kl_div(log_p, target, reduction="none", log_target=log_target).sum(-1)
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


def edges():
    def call(change, size=None):
        return edge(draw, REQUIRED, change, size)

    def one_hot(i):
        return {"target": torch.eye(6, 9, dtype=i["input"].dtype)}

    def changed(name, row, column, value):
        def change(i):
            tensor = i[name].clone()
            tensor[row, column] = value
            return {name: tensor}

        return change

    def strided(i):
        return {"input": i["input"].repeat_interleave(2, 1)[:, ::2],
                "target": i["target"].T.contiguous().T}  # fmt: skip

    def reverse(change):
        return lambda i: change(i) | {"direction": "reverse"}

    log_9, nothing = torch.tensor(9.0).double().log().item(), [0.0] * 6
    yield Edge("equal", call(lambda i: {"input": i["target"].log()}), terms=5.0)
    yield Edge("equal, reverse", call(reverse(lambda i: {"input": i["target"].log()})), terms=5.0)
    yield Edge("near", call(lambda i: {"input": i["input_near"]}), terms=5.0)
    yield Edge("near, reverse", call(reverse(lambda i: {"input": i["input_near"]})), terms=5.0)
    yield Edge("certain of one", call(lambda i: one_hot(i) | {"input": 0 * i["input"]}),
               rows=[log_9] * 6)  # fmt: skip
    yield Edge("no mass", call(lambda i: {"target": 0 * i["target"]}), rows=nothing)
    yield Edge("no mass, log", call(lambda i: {"target": i["target"] - INF, "log_target": True}),
               rows=nothing)  # fmt: skip
    yield Edge("p > 0 where t = 0", call(reverse(changed("target", 2, 4, 0.0))), gradients=False)
    yield Edge("p = 0 where t = 0", call(reverse(lambda i: changed("target", 2, 4, 0.0)(i)
               | changed("input", 2, 4, -INF)(i))))  # fmt: skip
    yield Edge("p = 0 where t > 0", call(changed("input", 2, 4, -INF)))
    yield Edge("all removed", call(lambda i: {"input": i["input"] - INF}), rows=nothing)
    yield Edge("all removed, reverse", call(reverse(lambda i: {"input": i["input"] - INF})),
               rows=nothing)  # fmt: skip
    yield Edge("around -3000", call(lambda i: {"input": i["input"] - 3000.0}))
    yield Edge("around +3000", call(reverse(lambda i: {"input": i["input"] + 3000.0})))
    yield Edge("1e4 apart", call(lambda i: {"input": 1e4 * i["input"]}))
    yield Edge("1e4 apart, reverse", call(reverse(lambda i: {"input": 1e4 * i["input"]})))
    yield Edge("no rows", call(lambda i: {}, SMALL._replace(n=0)), rows=[])
    yield Edge("no rows, no classes", call(lambda i: {}, SMALL._replace(n=0, m=0)), rows=[])
    yield Edge("one class", call(lambda i: {}, SMALL._replace(m=1)), rows=[0.0] * 4)
    yield Edge("one row without a batch",
               call(lambda i: {"input": i["input"][2], "target": i["target"][2]}))  # fmt: skip
    yield Edge("strided", call(strided))
    yield Edge("target of float32", call(lambda i: {"target": i["target"].float()}))
    yield Edge("NaN logit", call(changed("input", 2, 4, NAN)), gradients=False)
    yield Edge("NaN target", call(changed("target", 2, 4, NAN)), gradients=False)
    yield Edge("NaN logit, reverse", call(reverse(changed("input", 2, 4, NAN))), gradients=False)


def errors():
    # The good call: input (4, 6), target (4, 6).
    yield from score_errors("input", (4, 6))
    yield Error("input 0-D", shape("input"), ValueError, "input")
    yield Error("input 3-D", shape("input", 4, 6, 2), ValueError, "input")
    yield from beside_errors("target", 4, 6)
    yield from value_errors("target", -0.1, 1.1, 2.0, INF, like="target")

    def of_logs(error):
        return Error(f"log {error.name}",
                     lambda good: error.change(good | {"target": good["target"].log()})
                     | {"log_target": True}, error.exception, error.mentions)  # fmt: skip

    for error in value_errors("target", 0.1, INF, like="target"):
        yield of_logs(error)
    yield from bad.choice_errors("direction", "backward")
    yield from bad.choice_errors("reduction", "avg")
    for wrong in (1, None, "yes"):
        yield Error(f"log_target {wrong}", put(log_target=wrong), TypeError, "log_target")


def _shift(arguments, generator):
    offset = normal(generator, len(arguments["input"]), 1).to(arguments["input"].dtype)
    return arguments | {"input": arguments["input"] + offset}, lambda rows: rows


def _log(arguments, generator):
    """A target may be given as its logarithm."""
    if arguments.get("log_target"):
        return None
    return arguments | {"target": arguments["target"].log(), "log_target": True}, lambda rows: rows


CASE = Case(
    name="kl_div_with_logits",
    module="KLDivWithLogitsLoss",
    module_options=("direction", "log_target"),
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
    few=("forward, plain", "forward, all", "reverse, plain", "reverse, all"),
    eager=eager,
    invariances=(
        rows_permuted("input", "target"),
        Invariance("classes permuted", along(1, "input", "target")),
        Invariance("logits shifted", _shift),
        Invariance("target as logarithm", _log),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=lambda arguments, wrt: vectors_bound(arguments, wrt, per_row=6),
)
