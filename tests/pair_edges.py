"""Edges shared by all losses that compare two embedding sets."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from case import Edge
from pairwise import INF, NAN, PairSize, draw_pairs, rename


def edge_embeddings(n, m, d, dtype, seed=3, offset=0.0):
    size = PairSize(n, m, d, offset=offset)
    return draw_pairs(torch.Generator().manual_seed(seed), dtype, size)


PAIR_TENSORS = ("query", "key", "target", "negatives", "key_bias", "key_ids", "weights")


def pair_edges(takes=PAIR_TENSORS, target_is_optional=True, names=None, **options):
    """Edges every loss of two embedding sets with these options must pass.

    `takes` are the tensors it takes; `names` what it calls them. The written rows are those of a
    softmax cross-entropy of the target.
    """

    def with_rows(change, n=6, m=9, d=5):
        def arguments(dtype):
            inputs = edge_embeddings(n, m, d, dtype)
            chosen = {name: inputs[name] for name in ("query", "key", "target")}
            changed = change(chosen, inputs)
            changed = {name: value for name, value in changed.items() if name in takes}
            return rename(changed, names or {}) | options

        return arguments

    def zero(name, row):
        def change(chosen, inputs):
            chosen[name] = inputs[name].clone()
            chosen[name][row] = 0
            return chosen

        return change

    def poison(name, place):
        def change(chosen, inputs):
            chosen[name] = inputs[name].clone()
            chosen[name][place] = NAN
            return chosen

        return change

    def removed_nan(chosen, inputs):
        bias = inputs["key_bias"].clone()
        bias[3] = -INF
        return poison("key", (3, 0))(chosen, inputs) | {"key_bias": bias}

    def all_ties(chosen, inputs):
        return chosen | {"key": inputs["key"][:1].repeat(9, 1)}

    def duplicates(chosen, inputs):
        return chosen | {"query": inputs["key"][[4, 4, 0, 1, 8, 2]].clone()}

    def same_object(chosen, inputs):
        return {"query": inputs["key"], "key": inputs["key"]}

    def every_other(chosen, inputs):
        wide = {k: torch.randn(12, 18, generator=_seeded(5)) for k in ("query", "key")}
        strided = {k: wide[k].to(inputs["key"].dtype)[::2, 1::3] for k in wide}
        bias = inputs["key_bias"].repeat_interleave(2)[::2][:6]
        target = torch.arange(12).flip(0)[::2] % 6
        return chosen | strided | {"key_bias": bias, "target": target}

    def transposed(chosen, inputs):
        return {
            "query": inputs["query"].T.contiguous().T,
            "key": inputs["key"].T.contiguous().T,
            "negatives": inputs["negatives"].permute(2, 1, 0).contiguous().permute(2, 1, 0),
            "target": inputs["target"],
        }

    def expanded(chosen, inputs):
        return {
            "query": inputs["query"][:1].expand(6, 5),
            "key": inputs["key"],
            "negatives": inputs["negatives"][:1].expand(6, 3, 5),
            "key_bias": inputs["key_bias"][:1].expand(9),
            "weights": inputs["weights"][:1].expand(6),
            "target": torch.tensor([2]).expand(6),
        }

    def no_own_negatives(chosen, inputs):
        return chosen | {"negatives": inputs["negatives"][:, :0]}

    def no_weight(chosen, inputs):
        return chosen | {"weights": torch.zeros(6, dtype=inputs["key"].dtype)}

    def removed_positive(chosen, inputs):
        bias = inputs["key_bias"].clone()
        bias[inputs["target"][2]] = -INF
        return chosen | {"key_bias": bias}

    def all_removed(chosen, inputs):
        return chosen | {"key_bias": torch.full_like(inputs["key_bias"], -INF)}

    def all_removed_but_own(chosen, inputs):
        return all_removed(chosen, inputs) | {"negatives": inputs["negatives"]}

    def one_id(chosen, inputs):
        return chosen | {"key_ids": torch.full((len(inputs["key"]),), 7)}

    def bias_of(value):
        return lambda chosen, inputs: (
            chosen
            | {"key_bias": inputs["key_bias"] + torch.tensor(value, dtype=inputs["key"].dtype)}
        )

    def same(chosen, inputs):
        return chosen

    def default_target(chosen, inputs):
        del chosen["target"]
        return chosen

    edges = [
        Edge("empty batch", with_rows(same, n=0), rows=[]),
        Edge("one key", with_rows(same, n=3, m=1), rows=[0.0] * 3),
        Edge("one feature", with_rows(same, d=1), terms=100.0),
        Edge("zero query row", with_rows(zero("query", 2))),
        Edge("zero key row", with_rows(zero("key", 4))),
        Edge("zero target row", with_rows(lambda c, i: zero("key", i["target"][1])(c, i))),
        Edge("all keys equal", with_rows(all_ties), rows=[math.log(9)] * 6, terms=10.0),
        Edge("queries equal keys", with_rows(duplicates)),
        Edge("strided", with_rows(every_other)),
        Edge("transposed", with_rows(transposed)),
        Edge("expanded", with_rows(expanded)),
        Edge("bias removes a positive", with_rows(removed_positive)),
        Edge("bias removes all keys", with_rows(all_removed), rows=[0.0] * 6),
        Edge("scores around -3000", with_rows(bias_of(-3000.0)), terms=3000.0),
        Edge("scores around +3000", with_rows(bias_of(3000.0)), terms=3000.0),
        Edge("NaN query row", with_rows(poison("query", (2, 1))), gradients=False),
        Edge("NaN key row", with_rows(poison("key", (3, 0))), rows=[NAN] * 6, gradients=False),
        Edge("NaN in a removed key", with_rows(removed_nan), rows=[NAN] * 6, gradients=False),
        Edge("NaN bias", with_rows(poison("key_bias", 5)), rows=[NAN] * 6, gradients=False),
    ]
    if target_is_optional:
        edges += [
            Edge("empty batch, no keys", with_rows(default_target, n=0, m=0), rows=[]),
            Edge("one query, one key", with_rows(default_target, n=1, m=1), rows=[0.0]),
            Edge("query is key", with_rows(same_object)),
        ]
    if "negatives" in takes:
        edges += [
            Edge("zero negative row", with_rows(zero("negatives", (1, 2)))),
            Edge("no own negatives", with_rows(no_own_negatives)),
            Edge("bias leaves own negatives", with_rows(all_removed_but_own), rows=[INF] * 6),
            Edge("NaN negative", with_rows(poison("negatives", (1, 0, 0))), gradients=False),
        ]
    if "weights" in takes:
        edges += [Edge("all weights zero", with_rows(no_weight), rows=[0.0] * 6)]
    if "key_ids" in takes:
        edges += [Edge("all keys share one id", with_rows(one_id), rows=[0.0] * 6)]
    label = options.get("similarity", "dot")
    return tuple(replace(edge, name=f"{label}: {edge.name}") for edge in edges)


def extreme_norm_edges(n=8, m=11, takes=PAIR_TENSORS, names=None, **options):
    """Cosine looks at directions only: any stored norm will do, zero included."""

    def rows_times(small, large):
        def arguments(dtype):
            inputs = edge_embeddings(n, m, 5, dtype)
            # Larger exponents where the dtype has them.
            power = 1 if dtype == torch.float32 else 6
            factors = torch.tensor([small**power, 1.0, large**power, 0.0], dtype=torch.float64)
            changed = {
                name: (inputs[name].double() * factors.repeat(3)[: len(inputs[name]), None])
                for name in ("query", "key")
            }
            changed = {name: value.to(dtype) for name, value in changed.items()}
            if "target" in takes:
                changed["target"] = inputs["target"]
            return rename(changed, names or {}) | {"similarity": "cosine"} | options

        return arguments

    return tuple(
        Edge(f"cosine: norms {small:g} and {large:g}", rows_times(small, large))
        for small, large in ((1e-18, 1e18), (1e-30, 1e30))
    )


def euclidean_offset_edges(n=7, m=13, takes=PAIR_TENSORS, names=None, **options):
    """A shared offset of 100 must not cost the digits of distances around 1, or of zero."""

    def near(similarity):
        def arguments(dtype):
            inputs = edge_embeddings(n, m, 6, dtype, offset=100.0)
            key = inputs["key"].clone()
            key[[3, 5]] = key[[2, 2]]
            query = inputs["query"].clone()
            query[[1, 4]] = key[[2, 8]]
            changed = {"query": query, "key": key}
            if "target" in takes:
                changed["target"] = inputs["target"]
            return rename(changed, names or {}) | {"similarity": similarity} | options

        return arguments

    return tuple(
        Edge(f"{similarity}: offset 100 and duplicates", near(similarity))
        for similarity in ("euclidean", "sqeuclidean")
    )


def _seeded(seed):
    return torch.Generator().manual_seed(seed)
