"""info_nce: its variants, edges and errors."""

from __future__ import annotations

import math

import torch

import bad_arguments as bad
import fastloss.reference
from bad_arguments import META, put, shape
from case import Case, Edge, Error, Variant
from pair_edges import edge_embeddings, euclidean_offset_edges, extreme_norm_edges, pair_edges
from pairwise import (
    INF,
    PAIR_INVARIANCES,
    SIMILARITIES,
    PairSize,
    draw_pairs,
    euclidean_similarity,
    minus_distance,
    pair_memory_bound,
    pair_products,
)


def variants():
    def named(*names, **sources):
        return {name: name for name in names} | sources

    removing = {"key_bias": "key_bias_removing"}
    shared = [
        ("plain", {}, {}),
        ("target", {}, named("target")),
        ("negatives", {}, named("negatives")),
        ("bias", {}, named("key_bias", "target")),
        ("removing bias", {}, named("target") | removing),
        ("ids", {}, named("key_ids", "target")),
        ("margin", {"margin": 0.15}, {}),
        ("smoothing", {"label_smoothing": 0.2}, named("target")),
        ("decoupled", {"decoupled": True}, named("target")),
        ("weights", {}, named("weights")),
        ("temperature tensor", {}, named("temperature", "target")),
        ("sharp", {"temperature": 0.005}, {}),
        ("flat", {"temperature": 20.0}, {}),
        (
            "smoothing all",
            {"label_smoothing": 0.1, "margin": 0.2},
            named("target", "negatives", "key_ids", "weights", "temperature") | removing,
        ),
        (
            "decoupled all",
            {"decoupled": True, "margin": 0.2},
            named("target", "negatives", "key_ids", "weights", "temperature") | removing,
        ),
    ]
    for similarity in SIMILARITIES:
        for name, options, inputs in shared:
            options = {"similarity": similarity} | options
            if "temperature" not in inputs:
                options.setdefault("temperature", 0.4)  # neither saturated nor flat
            yield Variant(f"{similarity}, {name}", options, inputs)


def eager_info_nce(query, key, *args, negatives=None, similarity="cosine", **options):
    """As one writes it in torch, without the differences of all pairs."""
    if similarity not in ("euclidean", "sqeuclidean"):
        return fastloss.reference.info_nce(
            query, key, *args, negatives=negatives, similarity=similarity, **options
        )
    scores = euclidean_similarity(query, key, similarity)
    # The reference takes rows, not scores: against unit vectors, scores are their own products.
    n, m = scores.shape
    if negatives is not None:
        own = minus_distance((query[:, None] - negatives).square().sum(-1), similarity)
        scores = torch.cat([scores, own], dim=1)
    unit = torch.eye(scores.shape[1], dtype=scores.dtype)
    own = None if negatives is None else unit[m:].expand(n, -1, -1)
    return fastloss.reference.info_nce(
        scores, unit[:m], *args, negatives=own, similarity="dot", **options
    )


def edges():
    for similarity in SIMILARITIES:
        yield from pair_edges(similarity=similarity, temperature=0.3)
    yield from extreme_norm_edges()
    yield from euclidean_offset_edges(temperature=0.3)

    def decoupled(n, m, *names, **changes):
        def arguments(dtype):
            inputs = edge_embeddings(n, m, 5, dtype)
            chosen = {name: inputs[name] for name in ("query", "key", "target", *names)}
            return chosen | {"decoupled": True} | {k: v(inputs) for k, v in changes.items()}

        return arguments

    def one_id_but_the_last(inputs):
        # Rows with target 0…3 keep the last key as their only negative.
        return torch.tensor([5, 5, 5, 5, 9])

    yield Edge("decoupled: one query, one key", decoupled(1, 1), rows=[0.0])
    yield Edge("decoupled: one key", decoupled(4, 1, "weights"), rows=[0.0] * 4)
    yield Edge("decoupled: one key, own negatives", decoupled(4, 1, "negatives"))
    yield Edge(
        "decoupled: all keys share one id",
        decoupled(4, 5, key_ids=lambda inputs: torch.zeros(5, dtype=torch.int64)),
        rows=[0.0] * 4,
    )
    yield Edge(
        "decoupled: some rows without a negative",
        decoupled(
            4,
            5,
            weights=lambda inputs: inputs["weights"] + 0.5,
            target=lambda inputs: torch.tensor([0, 4, 2, 3]),
            key_ids=one_id_but_the_last,
            key_bias=lambda inputs: torch.tensor([0, -INF, 0, 0, -INF]).to(inputs["key"]),
        ),
    )
    yield Edge(
        "weight zero of an infinite loss",
        lambda dtype: {
            "query": edge_embeddings(3, 4, 5, dtype)["query"],
            "key": edge_embeddings(3, 4, 5, dtype)["key"],
            "key_bias": torch.tensor([0.5, -INF, 0.0, 0.0], dtype=dtype),
            "weights": torch.tensor([2.0, 0.0, 0.5], dtype=dtype),
        },
    )
    yield Edge(
        "smoothing: positive alone",
        lambda dtype: {
            "query": edge_embeddings(3, 4, 5, dtype)["query"],
            "key": edge_embeddings(3, 4, 5, dtype)["key"],
            "key_ids": torch.zeros(4, dtype=torch.int64),
            "label_smoothing": 0.3,
        },
        rows=[0.0] * 3,
    )
    yield Edge(
        "smoothing: complete",
        lambda dtype: {
            "query": edge_embeddings(3, 4, 5, dtype)["query"],
            "key": edge_embeddings(3, 4, 5, dtype)["key"],
            "label_smoothing": 1.0,
        },
    )


def errors():
    # The good call: query (4, 3), key (6, 3), target (4,), temperature 0.4.
    value, kind = ValueError, TypeError
    yield from bad.operand_errors("query", "key")
    yield Error("fewer keys than queries", put(key=torch.ones(3, 3), target=None), value, "key")
    yield Error("no keys", put(key=torch.ones(0, 3), target=None), value, "key")
    yield from bad.index_errors("target")
    yield Error("target ignored", put(target=torch.tensor([0, -100, 2, 3])), value, "target")
    yield Error("negatives 2-D", shape("negatives", 4, 3), value, "negatives")
    yield Error("negatives rows", shape("negatives", 5, 2, 3), value, "negatives")
    yield Error("negatives one row", shape("negatives", 1, 2, 3), value, "negatives")
    yield Error("negatives features", shape("negatives", 4, 2, 4), value, "negatives")
    double = torch.float64
    yield Error("negatives dtype", shape("negatives", 4, 2, 3, dtype=double), kind, "negatives")
    meta = torch.zeros(4, 2, 3, device=META)
    yield Error("negatives device", put(negatives=meta), value, "negatives")
    yield from bad.positive_scalar_errors("temperature")
    yield from bad.choice_errors("similarity", "cos")
    yield from bad.vector_errors("key_bias", 6, 4)
    yield from bad.id_errors("key_ids", 6, 4)
    yield from bad.smoothing_errors()
    both = put(label_smoothing=0.1, decoupled=True)
    yield Error("label_smoothing decoupled", both, value, "label_smoothing")
    yield Error("decoupled number", put(decoupled=1), kind, "decoupled")
    yield Error("margin NaN", put(margin=math.nan), value, "margin")
    yield Error("margin infinite", put(margin=INF), value, "margin")
    yield Error("margin string", put(margin="0.1"), kind, "margin")
    yield from bad.weight_errors("weights", 4, 6)
    yield from bad.group_errors()
    yield from bad.choice_errors("reduction", "average")


CASE = Case(
    name="info_nce",
    module="InfoNCELoss",
    module_options=("temperature", "similarity", "label_smoothing", "margin", "decoupled"),
    draw=draw_pairs,
    required=("query", "key"),
    sizes=(
        PairSize(127, 129, 33),
        PairSize(3, 300, 5, h=2),
        PairSize(1, 1, 1, h=1),
        PairSize(1, 129, 7, h=1),
        PairSize(2, 2, 3, h=5),
        PairSize(16, 32, 8),
        PairSize(129, 129, 48, h=1),
        PairSize(17, 1025, 9),
        PairSize(260, 530, 4),
        PairSize(127, 129, 33, scale=1e-3),
        PairSize(127, 129, 33, scale=30.0),
        PairSize(60, 70, 17, offset=100.0),
    ),
    small=PairSize(4, 6, 3, h=2),
    large=PairSize(1024, 3072, 64, h=0),
    variants=tuple(variants()),
    eager=eager_info_nce,
    scale=("temperature", "temperature"),
    differentiable=("query", "key", "negatives", "key_bias", "temperature"),
    invariances=PAIR_INVARIANCES,
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=pair_memory_bound,
    products=pair_products,
)
