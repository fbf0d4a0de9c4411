"""pairwise_logsumexp: its variants, edges and errors. It has no reduction: it is its rows."""

from __future__ import annotations

from dataclasses import replace

import torch

import bad_arguments as bad
import fastloss.reference
from bad_arguments import put
from case import Case, Edge, Error, Invariance, Variant
from pair_edges import euclidean_offset_edges, extreme_norm_edges, pair_edges
from pairwise import (
    INF,
    SIMILARITIES,
    PairSize,
    draw_pairs,
    euclidean_similarity,
    pair_invariances,
    pair_memory_bound,
    pair_products,
)

TENSORS = ("query", "key", "key_bias")


def variants():
    def named(*names):
        return {name: name for name in names}

    removing = {"key_bias": "key_bias_removing"}
    shared = [
        ("plain", {}, {}),
        ("dim 0", {"dim": 0}, {}),
        ("bias", {}, named("key_bias")),
        ("removing bias", {}, removing),
        ("dim 0 bias", {"dim": 0}, named("key_bias")),
        ("temperature tensor", {}, named("temperature")),
        ("sharp", {"temperature": 0.005}, {}),
        ("flat", {"temperature": 20.0}, {}),
        ("all", {}, named("temperature") | removing),
        ("dim 0 all", {"dim": 0}, named("temperature") | removing),
    ]
    for similarity in SIMILARITIES:
        for name, options, inputs in shared:
            options = {"similarity": similarity} | options
            if "temperature" not in inputs:
                options.setdefault("temperature", 0.4)  # neither saturated nor flat
            yield Variant(f"{similarity}, {name}", options, inputs)


def eager_pairwise_logsumexp(query, key, *, similarity="dot", **options):
    """As one writes it in torch, without the differences of all pairs."""
    if similarity not in ("euclidean", "sqeuclidean"):
        return fastloss.reference.pairwise_logsumexp(query, key, similarity=similarity, **options)
    scores = euclidean_similarity(query, key, similarity)
    # The reference takes rows, not scores: against unit vectors, scores are their own products.
    unit = torch.eye(len(key), dtype=scores.dtype)
    return fastloss.reference.pairwise_logsumexp(scores, unit, similarity="dot", **options)


# ------------------------------------------------------------------------------------ invariances


def _is_of_keys(arguments):
    return arguments.get("dim", 1) == 0


def _permute_rows(arguments, generator):
    order = torch.randperm(len(arguments["query"]), generator=generator)
    changed = arguments | {"query": arguments["query"][order]}
    return changed, lambda rows: rows if _is_of_keys(arguments) else rows[order]


def _permute_keys(arguments, generator):
    order = torch.randperm(len(arguments["key"]), generator=generator)
    changed = arguments | {"key": arguments["key"][order]}
    if arguments.get("key_bias") is not None:
        changed["key_bias"] = arguments["key_bias"][order]
    return changed, lambda rows: rows[order] if _is_of_keys(arguments) else rows


def _shift_scores(arguments, generator):
    bias = arguments.get("key_bias")
    bias = arguments["key"].new_zeros(len(arguments["key"])) if bias is None else bias
    return arguments | {"key_bias": bias + 2.5}, lambda rows: rows + 2.5


def _exchange(arguments, generator):
    if arguments.get("key_bias") is not None:
        return None
    exchanged = {"query": arguments["key"], "key": arguments["query"]}
    return arguments | exchanged | {"dim": 1 - arguments.get("dim", 1)}, lambda rows: rows


def _repeat(arguments, generator):
    """All summands twice: log 2 more."""
    log2 = torch.tensor(2.0, dtype=torch.float64).log().item()
    if _is_of_keys(arguments):
        return arguments | {"query": arguments["query"].repeat(2, 1)}, lambda rows: rows + log2
    changed = arguments | {"key": arguments["key"].repeat(2, 1)}
    if arguments.get("key_bias") is not None:
        changed["key_bias"] = arguments["key_bias"].repeat(2)
    return changed, lambda rows: rows + log2


# ------------------------------------------------------------------------------------------ edges


def edges():
    """Those of other losses without their written rows, along both dimensions; empty sums."""
    for dim in (1, 0):
        for similarity in SIMILARITIES:
            for edge in pair_edges(
                takes=TENSORS,
                target_is_optional=False,
                similarity=similarity,
                temperature=0.3,
                dim=dim,
            ):
                yield replace(edge, name=f"dim {dim}, {edge.name}", rows=None)

        def rows(n, m, names=(), dim=dim, **changes):
            def arguments(dtype):
                size = PairSize(max(n, 1), max(m, 1), 5)
                inputs = draw_pairs(torch.Generator().manual_seed(3), dtype, size)
                chosen = {"query": inputs["query"][:n], "key": inputs["key"][:m], "dim": dim}
                return chosen | {name: inputs[name][:m] for name in names} | changes

            return arguments

        def removed(value, dim=dim):
            def arguments(dtype):
                return rows(4, 6, dim=dim)(dtype) | {"key_bias": torch.full((6,), value).to(dtype)}

            return arguments

        none, some = ([-INF] * 4, []) if dim == 1 else ([], [-INF] * 6)
        yield Edge(f"dim {dim}, no keys", rows(4, 0), rows=none)
        yield Edge(f"dim {dim}, no keys, bias", rows(4, 0, ("key_bias",)), rows=none)
        yield Edge(f"dim {dim}, no queries", rows(0, 6), rows=some)
        yield Edge(f"dim {dim}, no queries, bias", rows(0, 6, ("key_bias",)), rows=some)
        yield Edge(f"dim {dim}, nothing", rows(0, 0), rows=[])
        yield Edge(f"dim {dim}, all removed", removed(-INF), rows=[-INF] * (4 if dim else 6))
        yield Edge(f"dim {dim}, one term", rows(1, 6) if dim == 0 else rows(4, 1))
        options = {"takes": TENSORS, "dim": dim}
        for edge in (
            *extreme_norm_edges(**options, temperature=0.07),
            *euclidean_offset_edges(**options, temperature=0.3),
        ):
            yield replace(edge, name=f"dim {dim}, {edge.name}")


def errors():
    # The good call: query (4, 3), key (6, 3), temperature 0.4.
    yield from bad.operand_errors("query", "key")
    yield from bad.positive_scalar_errors("temperature")
    yield from bad.choice_errors("similarity", "cos")
    yield from bad.vector_errors("key_bias", 6, 4)
    for dim in (2, -1, -2):
        yield Error(f"dim {dim}", put(dim=dim), ValueError, "dim")
    for dim in (None, 1.0, True, "0", (0, 1)):
        yield Error(f"dim {dim}", put(dim=dim), TypeError, "dim")


def products(arguments, wrt):
    """Backward always forms the scores again: each row has an upstream gradient of its own."""
    return pair_products(arguments | {"reduction": "none"}, wrt)


CASE = Case(
    name="pairwise_logsumexp",
    module=None,
    module_options=(),
    draw=draw_pairs,
    required=("query", "key"),
    has_reduction=False,
    sizes=(
        PairSize(127, 129, 33),
        PairSize(3, 300, 5),
        PairSize(1, 1, 1),
        PairSize(1, 129, 7),
        PairSize(129, 1, 7),
        PairSize(16, 32, 8),
        PairSize(17, 1025, 9),
        PairSize(530, 60, 4),
        PairSize(127, 129, 33, scale=1e-3),
        PairSize(127, 129, 33, scale=10.0),
        PairSize(60, 70, 17, offset=100.0),
    ),
    small=PairSize(4, 6, 3),
    large=PairSize(1024, 3072, 64, h=0),
    variants=tuple(variants()),
    eager=eager_pairwise_logsumexp,
    differentiable=("query", "key", "key_bias", "temperature"),
    invariances=(
        Invariance("rows permuted", _permute_rows),
        Invariance("keys permuted", _permute_keys),
        Invariance("scores shifted", _shift_scores),
        Invariance("operands exchanged", _exchange),
        Invariance("summands repeated", _repeat),
        *pair_invariances("rotated", "features shifted", "scaled"),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=pair_memory_bound,
    products=products,
)
