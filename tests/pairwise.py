"""Inputs, invariances, edges and bounds shared by all losses that compare two embedding sets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch

from case import Edge, Invariance

SIMILARITIES = ("cosine", "dot", "euclidean", "sqeuclidean")
INF = math.inf
NAN = math.nan


class PairSize(NamedTuple):
    """n queries, m keys, d features, h own negatives; features times `scale` plus `offset`."""

    n: int
    m: int
    d: int
    h: int = 3
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_trivial(self):
        return self.m == 1  # one key has the whole softmax

    def resized(self, n=None, m=None, d=None, h=None):
        given = {"n": n, "m": m, "d": d, "h": h}
        return self._replace(**{name: x for name, x in given.items() if x is not None})

    def __str__(self):
        text = f"{self.n}x{self.m}x{self.d}"
        text += f"-scale{self.scale:g}" if self.scale != 1 else ""
        return text + (f"-offset{self.offset:g}" if self.offset else "")


def rename(arguments, names):
    """`names`: what this page calls an argument → what a loss calls it."""
    return {names.get(name, name): value for name, value in arguments.items()}


def draw_pairs(generator, dtype, size, target=None):
    """All inputs of a pairwise loss. Skewed features and repeated targets: nothing symmetric.

    Drawn in float64 and then cast, so that every dtype sees the same data.
    """
    n, m, d, h, scale, offset = size

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def features(*shape):
        x = normal(*shape)
        return (x + 0.2 * x.square() + 0.1 * torch.linspace(-1, 1, d)) / math.sqrt(max(d, 1))

    key = features(m, d)
    if target is None:
        target = torch.randint(max(m, 1), (n,), generator=generator)
    query = features(n, d) + 0.5 * key[target]
    negatives = features(n, h, d)
    key_bias = 0.7 * normal(m)
    # Only keys that are nobody's target are removed: neither drawn nor default ones.
    removable = torch.ones(m, dtype=torch.bool)
    removable[target] = False
    removable[:n] = False
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    weights[1::5] = 0
    inputs = {
        "query": query * scale + offset,
        "key": key * scale + offset,
        "negatives": negatives * scale + offset,
        "key_bias": key_bias,
        "key_bias_removing": key_bias.masked_fill(removable, -INF),
        "weights": weights,
        "temperature": torch.tensor(0.4, dtype=torch.float64),
    }
    inputs = {name: value.to(dtype) for name, value in inputs.items()}
    inputs["target"] = target
    inputs["key_ids"] = torch.randint(max(m // 3, 1), (m,), generator=generator)
    return inputs


def with_similarities(variants):
    """(similarity, name, options, inputs) of every (name, options, inputs).

    Cosine differs from the product, and the squared distance from the distance, in what the tiles
    alone know: these two meet no option by itself.
    """
    for similarity in SIMILARITIES:
        for name, options, inputs in variants:
            if (
                similarity in ("dot", "euclidean")
                or name in ("plain", "sharp", "flat")
                or name.endswith("all")
            ):
                yield similarity, name, {"similarity": similarity} | options, inputs


# ---------------------------------------------------------------------------- how users write it


def euclidean_similarity(query, key, similarity):
    """(n, m) from a matrix product of centred rows, and from differences only where little is left
    of it."""
    centre = key.detach().mean(0) if len(key) > 0 else 0.0
    query, key = query - centre, key - centre
    norms = query.square().sum(1)[:, None] + key.square().sum(1)
    squared = norms - 2 * query @ key.T
    direct = (query[:, None] - key).square().sum(-1)
    return minus_distance(torch.where(squared < norms / 64, direct, squared), similarity)


def minus_distance(squared, similarity):
    if similarity == "sqeuclidean":
        return -squared
    return -torch.where(squared == 0, 0.0, torch.where(squared == 0, 1.0, squared).sqrt())


# ---------------------------------------------------------------- invariances of the row losses


def _permute_rows(arguments, generator):
    query = arguments["query"]
    n = len(query)
    order = torch.randperm(n, generator=generator)
    target = arguments.get("target")
    target = torch.arange(n) if target is None else target
    changed = {"query": query[order], "target": target[order]}
    for name in ("negatives", "weights"):
        if arguments.get(name) is not None:
            changed[name] = arguments[name][order]
    return arguments | changed, lambda rows: rows[order]


def _permute_keys(arguments, generator):
    key = arguments["key"]
    order = torch.randperm(len(key), generator=generator)
    new_place = torch.empty_like(order)
    new_place[order] = torch.arange(len(key))
    target = arguments.get("target")
    target = torch.arange(len(arguments["query"])) if target is None else target
    if arguments.get("ignore_index") in range(len(key)):
        return None
    # What is no key, an ignored target, keeps its name.
    target = torch.where(target < 0, target, new_place[target.clamp(min=0)])
    changed = {"key": key[order], "target": target}
    for name in ("key_bias", "key_ids", "key_weight"):
        if arguments.get(name) is not None:
            changed[name] = arguments[name][order]
    return arguments | changed, lambda rows: rows


def _permute_negatives(arguments, generator):
    if arguments.get("negatives") is None:
        return None
    negatives = arguments["negatives"]
    order = torch.randperm(negatives.shape[1], generator=generator)
    return arguments | {"negatives": negatives[:, order]}, lambda rows: rows


def _rotate(arguments, generator):
    d = arguments["query"].shape[1]
    square = torch.randn(d, d, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(square).Q.to(arguments["query"].dtype)
    changed = {
        name: arguments[name] @ rotation
        for name in ("query", "key", "negatives")
        if arguments.get(name) is not None
    }
    return arguments | changed, lambda rows: rows


def _shift_features(arguments, generator):
    if arguments.get("similarity", "cosine") not in ("euclidean", "sqeuclidean"):
        return None
    d = arguments["query"].shape[1]
    offset = torch.randn(d, generator=generator, dtype=torch.float64)
    offset = offset.to(arguments["query"].dtype)
    changed = {
        name: arguments[name] + offset
        for name in ("query", "key", "negatives")
        if arguments.get(name) is not None
    }
    return arguments | changed, lambda rows: rows


def _shift_scores(arguments, generator):
    """A constant in key_bias moves every score of a row, unless it has own negatives."""
    if arguments.get("negatives") is not None:
        return None
    key = arguments["key"]
    bias = arguments.get("key_bias")
    bias = key.new_zeros(len(key)) if bias is None else bias
    return arguments | {"key_bias": bias + 2.5}, lambda rows: rows


def _scale_features(arguments, generator):
    """Factors that a similarity can give to the temperature (or ignores: cosine)."""
    similarity = arguments.get("similarity", "cosine")
    if arguments.get("margin", 0.0) and similarity != "cosine":
        return None
    power = {"cosine": 0, "dot": 2, "euclidean": 1, "sqeuclidean": 2}[similarity]
    changed = {
        name: arguments[name] * 4.0
        for name in ("query", "key", "negatives")
        if arguments.get(name) is not None
    }
    if "logit_scale" in arguments:
        changed["logit_scale"] = arguments["logit_scale"] / 4.0**power
    else:
        changed["temperature"] = arguments.get("temperature", 0.07) * 4.0**power
    return arguments | changed, lambda rows: rows


def _double_weights(arguments, generator):
    query = arguments["query"]
    weights = arguments.get("weights")
    weights = query.new_ones(len(query)) if weights is None else weights
    return arguments | {"weights": 2 * weights}, lambda rows: 2 * rows


def _append_zero_own_keys(arguments, generator):
    """Keys that are removed by their bias are as good as absent."""
    key = arguments["key"]
    far = torch.randn(5, key.shape[1], generator=generator, dtype=torch.float64).to(key.dtype)
    bias = arguments.get("key_bias")
    bias = key.new_zeros(len(key)) if bias is None else bias
    changed = {
        "key": torch.cat([key, far]),
        "key_bias": torch.cat([bias, bias.new_full((5,), -INF)]),
    }
    if arguments.get("key_ids") is not None:
        ids = arguments["key_ids"]
        changed["key_ids"] = torch.cat([ids, ids.new_full((5,), -7)])
    if arguments.get("key_weight") is not None:
        weight = arguments["key_weight"]
        changed["key_weight"] = torch.cat([weight, weight.new_full((5,), 3.0)])
    return arguments | changed, lambda rows: rows


def _keys_as_negatives(arguments, generator):
    """A shared negative may be given as every query's own negative instead."""
    key, query = arguments["key"], arguments["query"]
    n, m = len(query), len(key)
    if m <= n or arguments.get("target") is not None:
        return None
    if arguments.get("key_bias") is not None or arguments.get("key_ids") is not None:
        return None
    moved = key[n:].expand(n, m - n, key.shape[1])
    own = arguments.get("negatives")
    own = moved if own is None else torch.cat([moved, own], dim=1)
    return arguments | {"key": key[:n], "negatives": own}, lambda rows: rows


def _permute_ids(arguments, generator):
    """Ids are names: only their equality counts."""
    if arguments.get("key_ids") is None:
        return None
    return arguments | {"key_ids": 10**12 - 3 * arguments["key_ids"]}, lambda rows: rows


PAIR_INVARIANCES = (
    Invariance("rows permuted", _permute_rows),
    Invariance("keys permuted", _permute_keys),
    Invariance("negatives permuted", _permute_negatives),
    Invariance("rotated", _rotate),
    Invariance("features shifted", _shift_features),
    Invariance("scores shifted", _shift_scores),
    Invariance("scaled", _scale_features),
    Invariance("weights doubled", _double_weights),
    Invariance("removed keys appended", _append_zero_own_keys),
    Invariance("shared negatives given as own", _keys_as_negatives),
    Invariance("ids renamed", _permute_ids),
)


def pair_invariances(*wanted, **names):
    """Some of PAIR_INVARIANCES, for a loss that calls its arguments by other `names`."""
    back = {own: name for name, own in names.items()}

    def renamed(law):
        def change(arguments, generator):
            changed = law(rename(arguments, back), generator)
            return changed and (rename(changed[0], names), changed[1])

        return change

    laws = {invariance.name: invariance.change for invariance in PAIR_INVARIANCES}
    return tuple(Invariance(name, renamed(laws[name])) for name in wanted)


# ------------------------------------------------------------------------------------- bounds


def pair_memory_bound(arguments, wrt, operands=("query", "key")):
    """Bytes beside the workspace: accumulators, returned gradients, O(n + m) vectors."""
    tensors = {name: arguments[name] for name in wrt}
    accumulators = sum(max(t.element_size(), 4) * t.numel() for t in tensors.values())
    returned = sum(t.element_size() * t.numel() for t in tensors.values())
    rows = sum(len(arguments[name]) for name in operands)
    return accumulators + returned + 16 * 8 * rows + 64 * 1024


def pair_products(arguments, wrt, operands=("query", "key")):
    """1 G = n · m · d multiply-adds for the scores, 1 G a gradient of an operand, and with "none"
    1 G for the scores that backward needs again."""
    recomputed = arguments.get("reduction") == "none" and bool(wrt)
    products = 1 + sum(name in wrt for name in operands) + recomputed
    return padded_products(arguments, operands, products, products)


def padded_products(arguments, operands, least, most):
    """Rows are padded to 16, columns and features to 32."""
    (n, d), m = arguments[operands[0]].shape, len(arguments[operands[1]])
    return least * n * m * d, most * _round_up(n, 16) * _round_up(m, 32) * _round_up(d, 32)


def _round_up(x, step):
    return -(-x // step) * step


# -------------------------------------------------------------------------------------- edges


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
