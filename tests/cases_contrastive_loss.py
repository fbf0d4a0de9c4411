"""contrastive_loss: its variants, edges and errors."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

import bad_arguments as bad
import fastloss
import metric
from bad_arguments import put
from case import Case, Edge, Error, Invariance, Variant
from metric import INF, NAN

OPERANDS = ("x1", "x2")
REQUIRED = (*OPERANDS, "label")

# "as_published" warns once a process: here, where nobody is tested.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    fastloss.contrastive_loss(
        torch.ones(1, 1), torch.ones(1, 1), torch.ones(1), negative_term="as_published"
    )


def variants():
    boolean, real = {"label": "label_boolean"}, {"label": "label_float"}
    squares = "margin_sq_minus_d_sq"
    for name, options, inputs in [
        ("euclidean, plain", {}, {}),
        ("sqeuclidean, plain", {"similarity": "sqeuclidean"}, {}),
        ("cosine, plain", {"similarity": "cosine"}, {}),
        ("euclidean, squares", {"negative_term": squares, "margin": 1.3}, boolean),
        ("cosine, squares", {"negative_term": squares, "similarity": "cosine"}, real),
        ("euclidean, linear", {"negative_term": "linear"}, real),
        ("sqeuclidean, linear", {"negative_term": "linear", "similarity": "sqeuclidean"}, {}),
        ("euclidean, as published", {"negative_term": "as_published", "margin": 0.8}, {}),
        ("euclidean, no margin", {"margin": 0.0}, {}),
        ("cosine, all",
         {"similarity": "cosine", "margin": 0.9, "similar_label": 0, "scale": 1.0,
          "negative_term": "linear"}, boolean),
        ("euclidean, all", {"margin": 1.7, "similar_label": 0, "scale": 2.5}, real),
    ]:  # fmt: skip
        yield Variant(name, options, inputs)


def edges():
    for similarity in ("euclidean", "sqeuclidean", "cosine"):
        yield from metric.row_edges(REQUIRED, similarity=similarity)
    for term in ("margin_sq_minus_d_sq", "linear", "as_published"):
        for edge in metric.row_edges(REQUIRED, negative_term=term):
            yield replace(edge, name=f"{term}: {edge.name}")
    yield from metric.extreme_edges(
        REQUIRED, ("euclidean", "cosine"), negative_term="linear", margin=0.5
    )

    def at_the_margin(term):
        def arguments(dtype):
            return {
                "x1": torch.zeros(2, 2, dtype=dtype),
                "x2": torch.tensor([[3.0, 4.0], [3.0, 4.0]], dtype=dtype),
                "label": torch.tensor([0, 1]),
                "margin": 5.0,
                "negative_term": term,
            }

        return arguments

    for term, rows in [
        ("margin_minus_d_sq", [0.0, 12.5]),
        ("margin_sq_minus_d_sq", [0.0, 12.5]),
        ("linear", [0.0, 2.5]),
        ("as_published", [12.5, 0.0]),
    ]:
        yield Edge(f"{term}: at the margin", at_the_margin(term), rows=rows)


def errors():
    # The good call: (4, 3) twice, label (4,).
    value, kind = ValueError, TypeError
    yield from metric.row_errors(*OPERANDS)
    yield from metric.label_errors()
    yield from metric.margin_errors()
    for wrong in (2, -1, 0.5, NAN):
        yield Error(f"similar_label {wrong}", put(similar_label=wrong), value, "similar_label")
    yield Error("similar_label None", put(similar_label=None), kind, "similar_label")
    yield from bad.choice_errors("negative_term", "squared")
    for wrong in (0.0, -1.0, NAN, INF):
        yield Error(f"scale {wrong}", put(scale=wrong), value, "scale")
    yield Error("scale string", put(scale="1"), kind, "scale")
    yield from bad.choice_errors("similarity", "cos")
    yield Error("similarity dot", put(similarity="dot"), value, "similarity")
    yield from bad.choice_errors("reduction", "batchmean")


def _exchange(arguments, generator):
    return arguments | {"x1": arguments["x2"], "x2": arguments["x1"]}, lambda rows: rows


def _other_label(arguments, generator):
    """Labels turned round, and which of them means similar."""
    label = arguments["label"]
    changed = {
        "label": (1 - label.long()).to(label.dtype),
        "similar_label": 1 - arguments.get("similar_label", 1),
    }
    return arguments | changed, lambda rows: rows


def _double_scale(arguments, generator):
    return arguments | {"scale": 2 * arguments.get("scale", 0.5)}, lambda rows: 2 * rows


CASE = Case(
    name="contrastive_loss",
    module="ContrastiveLoss",
    module_options=("margin", "similar_label", "negative_term", "scale", "similarity"),
    draw=metric.draw,
    required=REQUIRED,
    operands=OPERANDS,
    sizes=metric.SIZES,
    small=metric.SMALL,
    large=metric.LARGE,
    variants=tuple(variants()),
    differentiable=OPERANDS,
    follows_autocast=False,
    coupled=REQUIRED,
    thread_sizes=metric.THREAD_SIZES,
    few=("cosine, all",),
    invariances=(
        *metric.invariances(OPERANDS, ("label",)),
        Invariance("rows exchanged", _exchange),
        Invariance("labels turned round", _other_label),
        Invariance("scale doubled", _double_scale),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=metric.bound,
)
