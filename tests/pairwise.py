"""Inputs, invariances and bounds shared by all losses that compare two embedding sets."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from case import Invariance

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
