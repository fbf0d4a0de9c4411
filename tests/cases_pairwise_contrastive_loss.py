"""pairwise_contrastive_loss: its variants, edges and errors."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache

import torch

import bad_arguments as bad
import fastloss
import labelled
from bad_arguments import put
from case import Case, Edge, Error, Invariance, Variant
from fastloss.reference.metric._candidates import distances, mean_or_sums
from fastloss.reference.metric.pairwise_contrastive_loss import terms_of_distances
from labelled import INVARIANCES, REFERENCES, eager_distances
from one_set import set_memory_bound, set_products
from pairwise import NAN, PairSize

DISTANCES = ("euclidean", "sqeuclidean", "cosine")
TERMS = ("margin_sq_minus_d_sq", "linear", "as_published")
MARGINS = (1.0, 1.4, 0.5)

# "as_published" warns once a process: here, where nobody is tested.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    fastloss.pairwise_contrastive_loss(
        torch.ones(1, 1), torch.ones(1, dtype=torch.int64), negative_term="as_published"
    )


def draw(generator, dtype, size):
    return dict(_drawn(generator.initial_seed(), dtype, size))


@cache
def _drawn(seed, dtype, size):
    """No distance is a margin but for a rounding error: such inputs are drawn again. Not where
    inputs are large: there nothing is compared."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(100):
        inputs = labelled._candidate(generator, dtype, size)
        if size.n * max(size.n, size.m) > 1 << 17 or all(
            _is_clear(inputs, refs) for refs in (False, True)
        ):
            return inputs
    raise AssertionError(f"no clear inputs of size {size}")


def _is_clear(inputs, with_references):
    rows = inputs["embeddings"].double()
    refs = inputs["ref_embeddings"].double() if with_references else None
    for similarity in DISTANCES:
        d = distances(rows, refs, similarity)
        if d.numel() and any((d - margin).abs().min() <= 1e-6 for margin in MARGINS):
            return False
    return True


def variants():
    references = {name: name for name in REFERENCES}
    for similarity in DISTANCES:
        options = {"similarity": similarity}
        yield Variant(f"{similarity}, plain", options | {"margin": 1.4}, {})
        yield Variant(f"{similarity}, references", options, references)
        for term in TERMS:
            yield Variant(f"{similarity}, {term}", options | {"negative_term": term}, {})
        yield Variant(
            f"{similarity}, all",
            options | {"negative_term": "linear", "scale": 1.5, "margin": 0.5},
            references,
        )


def eager_pairwise_contrastive_loss(
    embeddings,
    labels,
    *,
    ref_embeddings=None,
    ref_labels=None,
    margin=1.0,
    negative_term="margin_minus_d_sq",
    scale=0.5,
    similarity="euclidean",
    reduction="mean",
):
    d = eager_distances(embeddings, ref_embeddings, similarity)
    terms, counted = terms_of_distances(d, labels, ref_labels, margin, negative_term)
    return mean_or_sums(scale * terms, counted, reduction)


def edges():
    default = [("margin_minus_d_sq", similarity) for similarity in DISTANCES]
    for term, similarity in (*default, ("linear", "euclidean")):  # ∂L/∂d = 1 at d = 0
        for edge in labelled.labelled_edges(similarity, negative_term=term):
            # Rows without a triplet do have pairs: the reference says what they cost.
            yield replace(edge, name=f"{term}: {edge.name}", rows=edge.rows and None)
    for references in (False, True):
        text = ", references" if references else ""
        for small, large in ((1e-18, 1e18), (1e-30, 1e30)):
            arguments = labelled.extreme_norms(small, large, references)
            yield Edge(f"cosine: norms {small:g} and {large:g}{text}", arguments)
        for similarity in ("euclidean", "sqeuclidean"):
            arguments = labelled.offset(similarity, references)
            yield Edge(f"{similarity}: offset 100 and duplicates{text}", arguments)

    def at_the_margin(term):
        def arguments(dtype):
            return {
                "embeddings": torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]], dtype=dtype),
                "labels": torch.tensor([0, 1, 1]),
                "margin": 5.0,
                "negative_term": term,
            }

        return arguments

    # Row 0 with row 1 at the margin and with row 2 at 0; row 1 with row 2, of its label.
    for term, rows in [
        ("margin_minus_d_sq", [12.5, 12.5, 0.0]),
        ("margin_sq_minus_d_sq", [12.5, 12.5, 0.0]),
        ("linear", [2.5, 2.5, 0.0]),
        ("as_published", [12.5, 0.0, 0.0]),
    ]:
        yield Edge(f"{term}: at the margin", at_the_margin(term), rows=rows)


def errors():
    yield from labelled.errors()
    yield Error("similarity dot", put(similarity="dot"), ValueError, "similarity")
    yield from bad.choice_errors("negative_term", "squared")
    for wrong in (0.0, -1.0, NAN, float("inf")):
        yield Error(f"scale {wrong}", put(scale=wrong), ValueError, "scale")
    yield Error("scale string", put(scale="1"), TypeError, "scale")
    yield from bad.choice_errors("reduction", "average")


def _double_scale(arguments, generator):
    return arguments | {"scale": 2 * arguments.get("scale", 0.5)}, lambda rows: 2 * rows


# A pair belongs to its earlier row; scaled distances change their powers.
KEPT = [law for law in INVARIANCES if law.name not in ("rows permuted", "scaled")]


def memory_bound(arguments, wrt):
    """Labels become ranks of 32 bits through copies of them and their order."""
    rows = [arguments[name] for name in ("labels", "ref_labels") if name in arguments]
    return set_memory_bound(arguments, wrt, ("embeddings", "ref_embeddings")) + sum(
        2 * 8 * len(labels) for labels in rows
    )


def products(arguments, wrt):
    """Scores once, and the gradients: nothing is needed of a row before. "none" takes the scores
    again, when the upstream gradient is known."""
    n, d = arguments["embeddings"].shape
    references = arguments.get("ref_embeddings")
    k = 0 if references is None else len(references)
    again = bool(wrt) and arguments.get("reduction") == "none"
    return set_products(
        n,
        k,
        d,
        "embeddings" in wrt,
        "ref_embeddings" in wrt,
        again,
        again,
        itself=references is None,
    )


CASE = Case(
    name="pairwise_contrastive_loss",
    module="PairwiseContrastiveLoss",
    module_options=("margin", "negative_term", "scale", "similarity"),
    draw=draw,
    required=("embeddings", "labels"),
    operands=("embeddings",),
    rows_are_independent=False,
    sizes=(
        PairSize(61, 83, 33),
        PairSize(37, 40, 70),
        PairSize(1, 1, 1),
        PairSize(3, 3, 4),
        PairSize(300, 5, 4),
        PairSize(61, 40, 17, scale=1e-3),
        PairSize(61, 40, 17, scale=30.0),
        PairSize(40, 50, 17, offset=3.0),
    ),
    small=PairSize(4, 5, 3),
    large=PairSize(1536, 900, 64),
    variants=tuple(variants()),
    few=("cosine, all",),
    eager=eager_pairwise_contrastive_loss,
    differentiable=("embeddings", "ref_embeddings"),
    invariances=(*KEPT, Invariance("scale doubled", _double_scale)),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=memory_bound,
    products=products,
)
