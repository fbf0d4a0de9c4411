"""One declaration a loss. Everything generic in tests/ runs over CASES.

To test a new loss, add its case here and its signature in signatures.py; what is particular to
it (published numbers, identities) goes to test_written_values.py and test_identities.py.
"""

from __future__ import annotations

import torch

import fastloss.reference
from case import Case, Edge, Error, Variant
from pairwise import (
    INF,
    NAN,
    PAIR_INVARIANCES,
    SIMILARITIES,
    PairSize,
    draw_pairs,
    edge_embeddings,
    euclidean_offset_edges,
    extreme_norm_edges,
    pair_edges,
    pair_memory_bound,
    pair_products,
)

# ----------------------------------------------------------------------------------- info_nce


def _info_nce_variants():
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
    """As one writes it in torch. Differences of all pairs would take n · m · d memory, so that
    distances come from a matrix product of centred rows, and from differences only where little
    is left of it."""
    if similarity not in ("euclidean", "sqeuclidean"):
        return fastloss.reference.info_nce(
            query, key, *args, negatives=negatives, similarity=similarity, **options
        )
    if len(key) > 0:
        centre = key.detach().mean(0)
        query, key = query - centre, key - centre
        negatives = None if negatives is None else negatives - centre
    norms = query.square().sum(1)[:, None] + key.square().sum(1)
    squared = norms - 2 * query @ key.T
    direct = (query[:, None] - key).square().sum(-1)
    scores = minus_distance(torch.where(squared < norms / 64, direct, squared), similarity)
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


def minus_distance(squared, similarity):
    if similarity == "sqeuclidean":
        return -squared
    return -torch.where(squared == 0, 0.0, torch.where(squared == 0, 1.0, squared).sqrt())


def _info_nce_edges():
    for similarity in SIMILARITIES:
        yield from pair_edges(similarity=similarity, temperature=0.3)
    yield from extreme_norm_edges()
    yield from euclidean_offset_edges()

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


def _info_nce_errors():
    def put(**changes):
        """Replace arguments; a callable gets the good arguments."""

        def change(good):
            return good | {k: v(good) if callable(v) else v for k, v in changes.items()}

        return change

    def shape(name, *dims, dtype=torch.float32):
        return put(**{name: torch.zeros(dims, dtype=dtype)})

    # The good call: query (4, 3), key (6, 3), target (4,), temperature 0.4.
    value, kind = ValueError, TypeError
    long = torch.int64
    yield Error("query is a list", put(query=[[1.0, 2.0, 3.0]]), kind, "query")
    yield Error("query is None", put(query=None), kind, "query")
    yield Error("query 1-D", shape("query", 3), value, "query")
    yield Error("query 3-D", shape("query", 4, 2, 3), value, "query")
    yield Error("query integer", shape("query", 4, 3, dtype=long), kind, "query")
    yield Error("query boolean", shape("query", 4, 3, dtype=torch.bool), kind, "query")
    yield Error("query complex", shape("query", 4, 3, dtype=torch.complex64), kind, "query")
    yield Error("key is an array", put(key=lambda good: good["key"].numpy()), kind, "key")
    yield Error("key 1-D", shape("key", 3), value, "key")
    yield Error("key 3-D", shape("key", 6, 1, 3), value, "key")
    yield Error("key features", shape("key", 6, 4), value, "key")
    yield Error("key one feature", shape("key", 6, 1), value, "key")
    yield Error("key dtype", shape("key", 6, 3, dtype=torch.float64), kind, "key")
    yield Error("key integer", shape("key", 6, 3, dtype=long), kind, "key")
    meta = torch.device("meta")
    yield Error("key device", put(key=torch.zeros(6, 3, device=meta)), value, "key")
    yield Error("fewer keys than queries", put(key=torch.ones(3, 3), target=None), value, "key")
    yield Error("no keys", put(key=torch.ones(0, 3), target=None), value, "key")
    yield Error("target is a list", put(target=[0, 1, 2, 3]), kind, "target")
    yield Error("target length", shape("target", 3, dtype=long), value, "target")
    yield Error("target one entry", shape("target", 1, dtype=long), value, "target")
    yield Error("target 0-D", shape("target", dtype=long), value, "target")
    yield Error("target column", shape("target", 4, 1, dtype=long), value, "target")
    yield Error("target float", shape("target", 4), kind, "target")
    yield Error("target int32", shape("target", 4, dtype=torch.int32), kind, "target")
    yield Error("target boolean", shape("target", 4, dtype=torch.bool), kind, "target")
    yield Error("target negative", put(target=torch.tensor([0, -1, 2, 3])), value, "target")
    yield Error("target m", put(target=torch.tensor([0, 6, 2, 3])), value, "target")
    yield Error("target huge", put(target=torch.tensor([0, 2**62, 2, 3])), value, "target")
    yield Error("target ignored", put(target=torch.tensor([0, -100, 2, 3])), value, "target")
    yield Error(
        "target requires grad",
        put(target=torch.zeros(4, requires_grad=True)),
        (value, kind),
        "target",
    )
    yield Error(
        "target device", put(target=torch.zeros(4, dtype=long, device=meta)), value, "target"
    )
    yield Error("negatives 2-D", shape("negatives", 4, 3), value, "negatives")
    yield Error("negatives rows", shape("negatives", 5, 2, 3), value, "negatives")
    yield Error("negatives one row", shape("negatives", 1, 2, 3), value, "negatives")
    yield Error("negatives features", shape("negatives", 4, 2, 4), value, "negatives")
    yield Error(
        "negatives dtype", shape("negatives", 4, 2, 3, dtype=torch.float64), kind, "negatives"
    )
    yield Error(
        "negatives device", put(negatives=torch.zeros(4, 2, 3, device=meta)), value, "negatives"
    )
    for bad in (0.0, -0.1, NAN, INF):
        yield Error(f"temperature {bad}", put(temperature=bad), value, "temperature")
        yield Error(
            f"temperature tensor {bad}", put(temperature=torch.tensor(bad)), value, "temperature"
        )
    yield Error("temperature string", put(temperature="0.1"), kind, "temperature")
    yield Error("temperature None", put(temperature=None), kind, "temperature")
    yield Error("temperature 1-D", put(temperature=torch.tensor([0.1])), value, "temperature")
    yield Error("temperature integer tensor", put(temperature=torch.tensor(1)), kind, "temperature")
    yield Error("similarity unknown", put(similarity="cos"), value, "similarity")
    yield Error("similarity None", put(similarity=None), (value, kind), "similarity")
    yield Error("key_bias length", shape("key_bias", 4), value, "key_bias")
    yield Error("key_bias one entry", shape("key_bias", 1), value, "key_bias")
    yield Error("key_bias column", shape("key_bias", 6, 1), value, "key_bias")
    yield Error("key_bias 0-D", shape("key_bias"), value, "key_bias")
    yield Error("key_bias integer", shape("key_bias", 6, dtype=long), kind, "key_bias")
    yield Error("key_bias float", put(key_bias=0.5), kind, "key_bias")
    yield Error("key_ids length", shape("key_ids", 4, dtype=long), value, "key_ids")
    yield Error("key_ids one entry", shape("key_ids", 1, dtype=long), value, "key_ids")
    yield Error("key_ids column", shape("key_ids", 6, 1, dtype=long), value, "key_ids")
    yield Error("key_ids float", shape("key_ids", 6), kind, "key_ids")
    for bad in (-0.1, 1.1, NAN):
        yield Error(f"label_smoothing {bad}", put(label_smoothing=bad), value, "label_smoothing")
    yield Error("label_smoothing string", put(label_smoothing="a"), kind, "label_smoothing")
    yield Error(
        "label_smoothing decoupled",
        put(label_smoothing=0.1, decoupled=True),
        value,
        "label_smoothing",
    )
    yield Error("margin NaN", put(margin=NAN), value, "margin")
    yield Error("margin infinite", put(margin=INF), value, "margin")
    yield Error("margin string", put(margin="0.1"), kind, "margin")
    yield Error("weights length", shape("weights", 6), value, "weights")
    yield Error("weights one entry", shape("weights", 1), value, "weights")
    yield Error("weights column", shape("weights", 4, 1), value, "weights")
    yield Error("weights list", put(weights=[1.0] * 4), kind, "weights")
    yield Error(
        "weights negative", put(weights=torch.tensor([1.0, -1.0, 2.0, 3.0])), value, "weights"
    )
    yield Error(
        "weights require grad",
        put(weights=torch.ones(4, requires_grad=True)),
        (value, kind),
        "weights",
    )
    yield Error("group", put(group=object()), NotImplementedError, "group")
    yield Error("reduction unknown", put(reduction="average"), value, "reduction")
    yield Error("reduction None", put(reduction=None), (value, kind), "reduction")


CASES = (
    Case(
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
        variants=tuple(_info_nce_variants()),
        eager=eager_info_nce,
        differentiable=("query", "key", "negatives", "key_bias", "temperature"),
        invariances=PAIR_INVARIANCES,
        edges=tuple(_info_nce_edges()),
        errors=tuple(_info_nce_errors()),
        memory_bound=pair_memory_bound,
        products=pair_products,
    ),
)
