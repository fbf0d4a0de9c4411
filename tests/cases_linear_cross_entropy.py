"""linear_cross_entropy: its variants, edges and errors. Classes are keys."""

from __future__ import annotations

import torch

import bad_arguments as bad
from bad_arguments import put, shape
from case import Case, Edge, Error, Variant
from pair_edges import pair_edges
from pairwise import (
    INF,
    NAN,
    PairSize,
    draw_pairs,
    pair_invariances,
    pair_memory_bound,
    pair_products,
)

OPERANDS = ("input", "linear_weight")
NAMES = {
    "query": "input",
    "key": "linear_weight",
    "key_bias": "linear_bias",
    "key_bias_removing": "linear_bias_removing",
    "key_weight": "weight",
}


def draw(generator, dtype, size):
    """Beside the arguments: targets of which some are ignored, and inputs that are NaN there."""
    inputs = draw_pairs(generator, dtype, size._replace(h=0))
    drawn = {own: inputs[name] for name, own in NAMES.items() if name in inputs}
    target = inputs["target"]
    ignoring = target.clone()
    ignoring[1::4] = -100
    poisoned = drawn["input"].clone()
    poisoned[1::4] = NAN
    weight = torch.rand(size.m, generator=generator, dtype=torch.float64) + 0.1
    weight[1::5] = 0
    return drawn | {
        "input_poisoned": poisoned,
        "input_sharp": 40 * drawn["input"],
        "target": target,
        "target_ignoring": ignoring,
        "weight": weight.to(dtype),
    }


def variants():
    removing = {"linear_bias": "linear_bias_removing"}
    ignoring = {"target": "target_ignoring"}
    poisoned = ignoring | {"input": "input_poisoned"}
    weight = {"weight": "weight"}
    for name, options, inputs in [
        ("plain", {}, {}),
        ("bias", {}, {"linear_bias": "linear_bias"}),
        ("removing bias", {}, removing),
        ("weight", {}, weight),
        ("ignoring", {}, poisoned),
        ("ignoring class 2", {"ignore_index": 2}, {}),
        ("ignoring nothing", {"ignore_index": None}, {}),
        ("smoothing", {"label_smoothing": 0.2}, {}),
        ("smoothing complete", {"label_smoothing": 1.0}, weight),
        ("smoothing removing", {"label_smoothing": 0.2}, removing),
        ("sharp", {}, {"input": "input_sharp"}),
        ("ignoring all", {}, poisoned | removing | weight),
        ("smoothing all", {"label_smoothing": 0.1}, ignoring | removing | weight),
    ]:
        yield Variant(f"dot, {name}", options, inputs)


# ------------------------------------------------------------------------------------------ edges


def own_edges():
    def call(change, n=6, c=9, d=5):
        def arguments(dtype):
            inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(n, c, d))
            chosen = {name: inputs[name] for name in (*OPERANDS, "target")}
            return chosen | change(inputs)

        return arguments

    def all_ignored(inputs):
        return {"target": torch.full((6,), -100), "input": torch.full_like(inputs["input"], NAN)}

    def one_kept(inputs):
        target = torch.full((6,), -100)
        target[4] = inputs["target"][4]
        return {"target": target}

    def infinite_where_ignored(inputs):
        poisoned = inputs["input_poisoned"].nan_to_num(INF)
        return {"input": poisoned, "target": inputs["target_ignoring"]}

    def weight_of_targets(value):
        def change(inputs):
            weight = inputs["weight"] + 0.5
            weight[inputs["target"]] = value
            return {"weight": weight}

        return change

    def removed_target(inputs):
        bias = inputs["linear_bias"].clone()
        bias[inputs["target"][2]] = -INF
        return {"linear_bias": bias}

    def removed_weightless_target(inputs):
        return removed_target(inputs) | weight_of_targets(0.0)(inputs)

    def all_removed_smoothed(inputs):
        removed = torch.full_like(inputs["linear_bias"], -INF)
        return {"linear_bias": removed, "label_smoothing": 0.3, "weight": inputs["weight"]}

    def one_class_left(inputs):
        bias = torch.full_like(inputs["linear_bias"], -INF)
        bias[3] = 0.5
        return {"linear_bias": bias, "target": torch.full((6,), 3), "label_smoothing": 0.4}

    def smoothed(change):
        return lambda inputs: change(inputs) | {"label_smoothing": 0.3}

    def single(*names):
        """One row without a batch dimension, as torch takes it."""

        def arguments(dtype):
            inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(6, 9, 5))
            chosen = {name: inputs[name] for name in (*OPERANDS, "target", *names)}
            return chosen | {"input": inputs["input"][2], "target": inputs["target"][2]}

        return arguments

    nothing = [0.0] * 6
    yield Edge("all ignored", call(all_ignored), rows=nothing)
    yield Edge("all ignored, smoothed", call(smoothed(all_ignored)), rows=nothing)
    yield Edge("one row kept", call(one_kept))
    yield Edge("infinite where ignored", call(infinite_where_ignored))
    yield Edge("ignored index is a class", call(lambda i: {"ignore_index": int(i["target"][0])}))
    yield Edge("targets of weight 0", call(weight_of_targets(0.0)), rows=nothing)
    yield Edge("targets of weight 0, smoothed", call(smoothed(weight_of_targets(0.0))))
    yield Edge("all weights 0", call(lambda i: {"weight": 0 * i["weight"]}), rows=nothing)
    yield Edge("target removed", call(removed_target))
    yield Edge("target removed, smoothed", call(smoothed(removed_target)))
    yield Edge("target removed, weight 0", call(removed_weightless_target), rows=nothing)
    yield Edge("all removed, smoothed", call(all_removed_smoothed), rows=nothing)
    yield Edge("one class left", call(one_class_left), rows=nothing)
    yield Edge("one class", call(smoothed(lambda i: {}), c=1), rows=nothing)
    yield Edge("no rows, no classes", call(lambda i: {}, n=0, c=0), rows=[])
    yield Edge("no rows, ignored", call(lambda i: {"ignore_index": 0}, n=0), rows=[])
    yield Edge("NaN weight row", call(lambda i: {"linear_weight": NAN * i["linear_weight"]}),
               rows=[NAN] * 6, gradients=False)  # fmt: skip
    yield Edge("one row without a batch", single())
    yield Edge("one row with all", single("linear_bias", "weight"))


def edges():
    takes = ("query", "key", "target", "key_bias")
    yield from pair_edges(takes=takes, target_is_optional=False, names=NAMES)
    yield from own_edges()


def errors():
    # The good call: input (4, 3), linear_weight (6, 3), target (4,).
    yield from bad.operand_errors(*OPERANDS, least_dim=1)
    yield from bad.index_errors("target")
    yield Error("target of 2 dims", shape("target", 4, 6), TypeError, "target")
    yield Error("one row, targets", lambda good: good | {"input": good["input"][0]}, ValueError,
                "target")  # fmt: skip
    ignored = torch.tensor([0, -100, 2, 3])
    yield Error("ignored elsewhere", put(target=ignored, ignore_index=-1), ValueError, "target")
    yield Error("nothing ignored", put(target=ignored, ignore_index=None), ValueError, "target")
    yield from bad.vector_errors("linear_bias", 6, 4)
    yield from bad.weight_errors("weight", 6, 4)
    for value in (1.5, "mean", True):
        yield Error(f"ignore_index {value}", put(ignore_index=value), TypeError, "ignore_index")
    yield from bad.smoothing_errors()
    yield from bad.choice_errors("reduction", "average")


# ----------------------------------------------------------------------------------------- bounds


def memory_bound(arguments, wrt):
    """As of any pair, and a copy of the rows kept if some are ignored."""
    bound = pair_memory_bound(arguments, wrt, OPERANDS)
    ignore_index = arguments.get("ignore_index", -100)
    if ignore_index is None or not (arguments["target"] == ignore_index).any():
        return bound
    return bound + arguments["input"].element_size() * arguments["input"].numel()


def products(arguments, wrt):
    """Ignored rows are not multiplied."""
    ignore_index = arguments.get("ignore_index", -100)
    kept = arguments["target"] != ignore_index
    arguments = arguments | {"input": arguments["input"][kept]}
    return pair_products(arguments, wrt, OPERANDS)


CASE = Case(
    name="linear_cross_entropy",
    module="LinearCrossEntropyLoss",
    module_options=("ignore_index", "label_smoothing"),
    draw=draw,
    required=(*OPERANDS, "target"),
    operands=OPERANDS,
    sizes=(
        PairSize(127, 129, 33),
        PairSize(5, 300, 5),
        PairSize(1, 1, 1),
        PairSize(1, 129, 7),
        PairSize(2, 2, 3),
        PairSize(16, 32, 8),
        PairSize(129, 129, 48),
        PairSize(17, 1025, 9),
        PairSize(530, 60, 4),
        PairSize(127, 129, 33, scale=1e-3),
        PairSize(127, 129, 33, scale=30.0),
    ),
    small=PairSize(4, 6, 3),
    large=PairSize(1024, 3072, 64),
    variants=tuple(variants()),
    differentiable=("input", "linear_weight", "linear_bias"),
    invariances=pair_invariances(
        "rows permuted",
        "keys permuted",
        "rotated",
        "scores shifted",
        "removed keys appended",
        **NAMES,
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=memory_bound,
    products=products,
)
