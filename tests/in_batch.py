"""Variants, edges, errors and bounds of the losses against all other keys of the batch."""

from __future__ import annotations

from dataclasses import replace

import torch

import bad_arguments as bad
from bad_arguments import put
from case import Edge, Error, Invariance, Variant
from pair_edges import euclidean_offset_edges, extreme_norm_edges, pair_edges
from pairwise import (
    NAN,
    SIMILARITIES,
    PairSize,
    draw_pairs,
    euclidean_similarity,
    pair_invariances,
    pair_memory_bound,
    pair_products,
    with_similarities,
)

TENSORS = ("query", "key", "key_ids", "weights")


def draw(generator, dtype, size):
    """Key i is near query i; ids name some keys alike."""
    inputs = draw_pairs(generator, dtype, size._replace(h=0), target=torch.arange(size.n))
    return {name: inputs[name] for name in (*TENSORS, "temperature")}


def variants(extra=()):
    def named(*names):
        return {name: name for name in names}

    shared = [
        ("plain", {}, {}),
        ("ids", {}, named("key_ids")),
        ("weights", {}, named("weights")),
        ("temperature tensor", {}, named("temperature")),
        ("sharp", {"temperature": 0.005}, {}),
        ("flat", {"temperature": 20.0}, {}),
        ("all", {}, named("key_ids", "weights", "temperature")),
        *extra,
    ]
    for similarity, name, options, inputs in with_similarities(shared):
        if "temperature" not in inputs:
            options.setdefault("temperature", 0.4)  # neither saturated nor flat
        yield Variant(f"{similarity}, {name}", options, inputs)


def eager(reference):
    """As one writes it in torch, without the differences of all pairs."""

    def loss(query, key, *, similarity="dot", **options):
        if similarity not in ("euclidean", "sqeuclidean"):
            return reference(query, key, similarity=similarity, **options)
        scores = euclidean_similarity(query, key, similarity)
        # The reference takes rows, not scores: against unit vectors, they are their own products.
        unit = torch.eye(len(key), dtype=scores.dtype)
        return reference(scores, unit, similarity="dot", **options)

    return loss


# ------------------------------------------------------------------------------------ invariances


def _permute_pairs(arguments, generator):
    """Queries and their keys; further keys stay."""
    n = len(arguments["query"])
    order = torch.randperm(n, generator=generator)
    keys = torch.cat([order, torch.arange(n, len(arguments["key"]))])
    by_row = {"query": order, "weights": order, "key": keys, "key_ids": keys}
    changed = {
        name: arguments[name][places]
        for name, places in by_row.items()
        if arguments.get(name) is not None
    }
    return arguments | changed, lambda rows: rows[order]


def _reverse_further_keys(arguments, generator):
    n = len(arguments["query"])
    changed = {
        name: torch.cat([arguments[name][:n], arguments[name][n:].flip(0)])
        for name in ("key", "key_ids")
        if arguments.get(name) is not None
    }
    return arguments | changed, lambda rows: rows


def _further_keys_twice(arguments, generator):
    """Only those: every query has n − 1 negatives of its own kind."""
    if arguments.get("key_ids") is None or len(arguments["key"]) == len(arguments["query"]):
        return None
    # Keys that bear every query's id are nobody's negatives.
    key, ids = arguments["key"], arguments["key_ids"]
    alike = torch.full_like(ids, 3)
    changed = {"key": torch.cat([key, key]), "key_ids": torch.cat([alike, alike])}
    return arguments | changed, lambda rows: 0 * rows


INVARIANCES = (
    Invariance("pairs permuted", _permute_pairs),
    Invariance("further keys permuted", _reverse_further_keys),
    Invariance("all keys alike", _further_keys_twice),
    *pair_invariances("rotated", "features shifted", "weights doubled", "ids renamed"),
)
SCALED = pair_invariances("scaled")


# ------------------------------------------------------------------------------------------ edges


def edges(of_equal_scores, **options):
    """`of_equal_scores` is the loss of a pair whose scores are equal."""
    shared = {"takes": TENSORS, "temperature": 0.3} | options
    for similarity in SIMILARITIES:
        for edge in pair_edges(similarity=similarity, **shared):
            if any(
                word in edge.name for word in ("bias", "scores around", "removed", "target row")
            ):
                continue  # of a key_bias, or of a target
            if edge.name.endswith("one key"):  # for three queries
                continue
            zeros = edge.rows is not None and edge.rows == [0.0] * len(edge.rows)
            # No softmax shares a weight of 1 among the 8 negatives: each may have it.
            yield replace(edge, rows=edge.rows if zeros else None, terms=8 * edge.terms)

        def rows(n, m, names=(), similarity=similarity, **changes):
            def arguments(dtype):
                inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(n, m, 5))
                chosen = {name: inputs[name] for name in ("query", "key", *names)}
                made = {k: v(inputs) if callable(v) else v for k, v in changes.items()}
                return chosen | {"similarity": similarity, "temperature": 0.3} | options | made

            return arguments

        def alike(inputs):
            return inputs["query"][:1].repeat(len(inputs["key"]), 1)

        def nan_in(name, place):
            def change(inputs):
                changed = inputs[name].clone()
                changed[place] = NAN
                return changed

            return change

        yield Edge(f"{similarity}: one pair", rows(1, 1), rows=[0.0])
        yield Edge(f"{similarity}: one pair, further keys", rows(1, 4))
        yield Edge(
            f"{similarity}: all rows equal",
            rows(6, 20, query=lambda i: i["query"][:1].expand(6, 5), key=alike),
            rows=[19 * of_equal_scores] * 6,
            terms=19.0,
        )
        yield Edge(
            f"{similarity}: NaN pair",
            rows(4, 5, query=nan_in("query", (1, 0)), key=nan_in("key", (1, 2))),
            rows=[NAN] * 4,
            gradients=False,
        )
    yield from extreme_norm_edges(**shared)
    yield from euclidean_offset_edges(**shared)


def errors():
    # The good call: query (4, 3), key (6, 3), temperature 0.4.
    yield from bad.operand_errors("query", "key")
    yield Error("fewer keys than queries", put(key=torch.ones(3, 3)), ValueError, "key")
    yield Error("no keys", put(key=torch.ones(0, 3)), ValueError, "key")
    yield from bad.positive_scalar_errors("temperature")
    yield from bad.choice_errors("similarity", "cos")
    yield from bad.id_errors("key_ids", 6, 4)
    yield from bad.weight_errors("weights", 4, 6)
    yield from bad.choice_errors("reduction", "average")


SIZES = (
    PairSize(127, 129, 33),
    PairSize(3, 300, 5),
    PairSize(1, 1, 1),
    PairSize(1, 129, 7),
    PairSize(16, 32, 8),
    PairSize(129, 129, 48),
    PairSize(17, 1025, 9),
    PairSize(260, 530, 4),
    PairSize(67, 70, 33, scale=1e-3),
    PairSize(67, 70, 33, scale=30.0),
    PairSize(60, 70, 17, offset=3.0),
)


def shared(name, module, reference, variants, edges, errors, module_options=()):
    """What the cases have in common."""
    return {
        "name": name,
        "module": module,
        "module_options": ("temperature", "similarity", *module_options),
        "draw": draw,
        "required": ("query", "key"),
        "rows_are_independent": False,  # key i is query i's positive: rows are pairs
        "scale": ("temperature", "temperature"),
        "sizes": SIZES,
        "small": PairSize(4, 6, 3),
        "large": PairSize(1024, 3072, 64, h=0),
        "few": ("dot, plain", "euclidean, all"),
        "variants": tuple(variants),
        "eager": eager(reference),
        "differentiable": ("query", "key", "temperature"),
        "edges": tuple(edges),
        "errors": tuple(errors),
        "memory_bound": pair_memory_bound,
        "products": pair_products,
    }
