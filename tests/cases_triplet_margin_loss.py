"""triplet_margin_loss: its variants, edges and errors."""

from __future__ import annotations

import torch

import bad_arguments as bad
import metric
from bad_arguments import put, shape
from case import Case, Edge, Error, Invariance, Variant
from metric import INF, NAN, edge_inputs
from pairwise import SIMILARITIES
from scores import beside_errors, negative_error

REQUIRED = ("anchor", "positive", "negative")


def variants():
    several = {"negative": "negatives"}
    weights = {"weights": "weights", "anchor": "anchor_poisoned"}
    for similarity in SIMILARITIES:
        for name, options, inputs in [
            ("plain", {"margin": 0.3}, {}),
            ("negatives", {"margin": 0.8}, several),
            ("all", {"margin": 0.2, "swap": True, "hinge": "softplus"}, several | weights),
        ]:
            yield Variant(f"{similarity}, {name}", {"similarity": similarity} | options, inputs)
    for name, options, inputs in [
        ("no margin", {"margin": 0.0}, {}),
        ("weights", {}, weights),
        ("swapped", {"margin": 0.3, "swap": True}, several),
        ("soft", {"hinge": "softplus"}, several),
        ("torch's eps", {"eps": 1e-6}, {}),
        ("p 1", {"p": 1.0, "eps": 0.01}, several),
        ("p 1.5", {"p": 1.5, "swap": True}, several),
        ("p 7", {"p": 7.0, "eps": 0.05}, several | weights),
    ]:
        yield Variant(f"euclidean, {name}", options, inputs)
    squared = {"similarity": "sqeuclidean", "eps": 0.05}
    yield Variant("sqeuclidean, eps", squared, several)


def edges():
    for similarity in SIMILARITIES:
        yield from metric.row_edges(REQUIRED, similarity=similarity, margin=0.3)
    for p in (1.0, 3.0):
        yield from metric.row_edges(REQUIRED, p=p, margin=0.3)
    yield from metric.extreme_edges(REQUIRED, ("euclidean", "cosine"))
    yield from metric.extreme_edges(REQUIRED, ("euclidean",), p=3.0, swap=True)

    def call(change, h=2):
        def arguments(dtype):
            inputs = edge_inputs(6, 5, dtype, h=h)
            chosen = {name: inputs[name] for name in REQUIRED}
            return chosen | {"negative": inputs["negatives"]} | change(inputs)

        return arguments

    def with_nan(i):
        negative = i["negatives"].clone()
        negative[2, 1, 0] = NAN
        return {"negative": negative}

    def no_weight(i):
        poisoned = {name: torch.full_like(i[name], NAN) for name in ("anchor", "positive")}
        return poisoned | {"weights": torch.zeros_like(i["weights"])}

    yield Edge("no negatives", call(lambda i: {}, h=0), rows=[0.0] * 6)
    yield Edge("a NaN negative", call(with_nan), gradients=False)
    yield Edge("all weights 0", call(no_weight), rows=[0.0] * 6)
    yield Edge("a swap of equal distances", call(lambda i: {"positive": i["anchor"], "swap": True}))
    yield Edge("at the kink", lambda dtype: {
        "anchor": torch.zeros(2, 2, dtype=dtype),
        "positive": torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=dtype),
        "negative": torch.tensor([[0.0, 6.0], [0.5, 0.0]], dtype=dtype),
    }, rows=[0.0, 0.5])  # fmt: skip


def errors():
    # The good call: (4, 3) three times.
    value, kind = ValueError, TypeError
    yield from metric.row_errors(*REQUIRED)
    for dims in ((3, 2, 3), (4, 2, 4), (1, 2, 3), (4, 2)):
        yield Error(f"negative {dims}", shape("negative", *dims), value, "negative")
    yield from metric.margin_errors()
    yield from bad.choice_errors("similarity", "cos")
    for wrong in (0.5, 0.0, -1.0, NAN, INF):
        yield Error(f"p {wrong}", put(p=wrong, similarity="euclidean"), value, "p")
    yield Error("p string", put(p="2"), kind, "p")
    for similarity in ("cosine", "dot", "sqeuclidean"):
        yield Error(f"p of {similarity}", put(p=1.0, similarity=similarity), value, "p")
    for similarity in ("cosine", "dot"):
        yield Error(f"eps of {similarity}", put(eps=1e-6, similarity=similarity), value, "eps")
    for wrong in (-1e-6, NAN, INF):
        yield Error(f"eps {wrong}", put(eps=wrong, similarity="euclidean"), value, "eps")
    yield Error("swap number", put(swap=1), kind, "swap")
    yield from bad.choice_errors("hinge", "none")
    yield from beside_errors("weights", 4)
    yield negative_error("weights", 4)
    yield from bad.choice_errors("reduction", "batchmean")


def _exchange(arguments, generator):
    """Of anchor and positive as of positive and anchor, once the smaller distance counts. eps makes
    differences lopsided."""
    if not arguments.get("swap") or arguments.get("eps") or arguments["anchor"].isnan().any():
        return None
    changed = {"anchor": arguments["positive"], "positive": arguments["anchor"]}
    return arguments | changed, lambda rows: rows


def _permute_negatives(arguments, generator):
    negative = arguments["negative"]
    if negative.dim() == 2:
        return None
    order = torch.randperm(negative.shape[1], generator=generator)
    return arguments | {"negative": negative[:, order]}, lambda rows: rows


def _scale(arguments, generator):
    """Rows and margin in another unit, and the loss with them."""
    power = {"cosine": 0, "dot": 2, "euclidean": 1, "sqeuclidean": 2}
    factor = 4.0 ** power[arguments.get("similarity", "euclidean")]
    if arguments.get("hinge", "relu") != "relu" or arguments.get("eps"):
        return None
    changed = {name: 4 * arguments[name] for name in REQUIRED}
    changed["margin"] = factor * arguments.get("margin", 1.0)
    return arguments | changed, lambda rows: factor * rows


CASE = Case(
    name="triplet_margin_loss",
    module="TripletMarginLoss",
    module_options=("margin", "similarity", "p", "eps", "swap", "hinge"),
    draw=metric.draw,
    required=REQUIRED,
    operands=REQUIRED,
    sizes=metric.SIZES,
    small=metric.SMALL,
    large=metric.LARGE,
    variants=tuple(variants()),
    differentiable=REQUIRED,
    follows_autocast=False,
    coupled=(*REQUIRED, "weights"),
    thread_sizes=metric.THREAD_SIZES,
    few=("euclidean, all",),
    invariances=(
        *metric.invariances(REQUIRED, ("weights",)),
        Invariance("negatives permuted", _permute_negatives),
        Invariance("anchor and positive exchanged", _exchange),
        Invariance("scaled", _scale),
        metric.WEIGHTS_DOUBLED,
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=metric.bound,
)
