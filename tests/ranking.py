"""Inputs, variants, invariances, edges and errors shared by the losses over lists of items.

A list comes in one of four layouts:
  padded  (n, m), every place holds an item
  masked  (n, m) and `where`; what it leaves out holds NaN, infinities and negative labels
  ragged  flat, with `offsets`; the first list is the longest, others may be empty
  single  (m,), one list
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from bad_arguments import LONG
from case import Invariance, Variant

INF = math.inf
NAN = math.nan
ITEMS = ("scores", "labels", "where", "offsets", "weights")  # what belongs together, item by item
FEW = ("padded, plain", "masked, sharp", "ragged, all")


class ListSize(NamedTuple):
    """n lists of up to m items; scores times `scale` plus `offset`."""

    n: int
    m: int
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_trivial(self):
        return self.m <= 1

    def resized(self, n=None, m=None, d=None, h=None):
        return self._replace(n=self.n if n is None else n, m=self.m if m is None else m)

    def __str__(self):
        text = f"{self.n}x{self.m}" + (f"-scale{self.scale:g}" if self.scale != 1 else "")
        return text + (f"-offset{self.offset:g}" if self.offset else "")


SIZES = (
    ListSize(19, 37),
    ListSize(3, 400),  # long enough for the sweeps
    ListSize(1, 1),
    ListSize(7, 1),
    ListSize(1, 2),
    ListSize(5, 8),
    ListSize(2, 127),
    ListSize(2, 129),
    ListSize(70, 33),
    ListSize(19, 37, scale=2.0**-10),
    ListSize(19, 37, scale=32.0),
    ListSize(2, 300, scale=32.0),
    ListSize(19, 37, offset=1000.0),
    ListSize(2, 300, offset=1000.0),
)
SMALL = ListSize(4, 6)
SOME = ListSize(5, 9)  # of the edges
LARGE = ListSize(96, 1200)
THREAD_SIZES = ((130, 40), (2, 400))  # longer lists: test_ranking.py


def draw_lists(generator, dtype, size):
    """Every input in every layout, as "scores", "scores_masked", "scores_ragged", "scores_single".

    Scores lie on a lattice of 1/64: some tie, differences are exact in every dtype, and none comes
    near a margin that is not on the lattice, where rounding would decide about a gradient.
    """
    n, m, scale, offset = size

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    grades = (5 * uniform(n, m).square()).long()  # 0 … 4, the low ones more often
    normal = torch.randn(n, m, generator=generator, dtype=torch.float64)
    scores = ((normal + 0.1 * normal.square() + 0.4 * grades) * 64).round() / 64
    weights = uniform(n, m) + 0.1
    weights[:, 1::4] = 0
    list_weights = uniform(n) + 0.1
    list_weights[1::3] = 0
    items = {
        "scores": (scores * scale + offset).to(dtype),
        "labels": grades,
        "labels_binary": grades > 1,
        "labels_real": (4 * uniform(n, m)).to(dtype),
        "weights": weights.to(dtype),
    }
    where = uniform(n, m) < 0.7
    where[2:3] = False  # nothing left
    poison = torch.tensor([NAN, INF, -INF], dtype=dtype)
    poison = poison[torch.randint(3, (n, m), generator=generator)]

    def masked(values):
        if values.dtype == torch.bool:
            return values ^ ~where
        return torch.where(where, values, poison if values.is_floating_point() else -7)

    lengths = torch.randint(m + 1, (n,), generator=generator)
    lengths[:1] = m
    lengths[1:2] = 0
    lengths[3:4] = min(m, 1)
    kept = torch.arange(m) < lengths[:, None]
    layouts = {
        "": lambda values: values,
        "_masked": masked,
        "_ragged": lambda values: values[kept],
        "_single": lambda values: values.reshape(-1)[:m],
    }
    inputs = {
        name + layout: change(values)
        for name, values in items.items()
        for layout, change in layouts.items()
    }
    list_weights = list_weights.to(dtype)
    inputs |= {f"list_weights{layout}": list_weights for layout in layouts}
    inputs["list_weights_single"] = torch.full((1,), 0.6, dtype=dtype)
    inputs["where"] = where
    inputs["offsets"] = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return inputs


def variant(layout, name, options=None, *optional, labels="labels"):
    """Optional inputs by argument; `labels` may be "labels_binary" or "labels_real"."""
    suffix = "" if layout == "padded" else f"_{layout}"
    inputs = {"scores": f"scores{suffix}", "labels": labels + suffix}
    inputs |= {name: name + suffix for name in optional}
    inputs |= {"masked": {"where": "where"}, "ragged": {"offsets": "offsets"}}.get(layout, {})
    return Variant(f"{layout}, {name}", options or {}, inputs)


# ------------------------------------------------------------------------------------ invariances
#
# Each changes a dictionary of tensors of one layout; rows are lists.


def _items_of(arguments):
    return {
        name: arguments[name]
        for name in ("scores", "labels", "where", "weights")
        if isinstance(arguments.get(name), torch.Tensor)
    }


def _as_rows(arguments):
    """Arguments in the padded layout, or None if they are ragged."""
    if arguments.get("offsets") is not None:
        return None
    if arguments["scores"].dim() == 2:
        return arguments
    return arguments | {name: value[None] for name, value in _items_of(arguments).items()}


def _permute_lists(arguments, generator):
    rows = _as_rows(arguments)
    if rows is None:
        return None
    order = torch.randperm(len(rows["scores"]), generator=generator)
    changed = {name: value[order] for name, value in _items_of(rows).items()}
    if arguments.get("list_weights") is not None:
        changed["list_weights"] = arguments["list_weights"][order]
    return rows | changed, lambda losses: losses[order]


def _permute_items(arguments, generator):
    """Another order in every list."""
    offsets = arguments.get("offsets")
    if offsets is not None:
        ends = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        orders = [a + torch.randperm(z - a, generator=generator) for a, z in ends]
        order = torch.cat(orders)
        changed = {name: value[order] for name, value in _items_of(arguments).items()}
        return arguments | changed, lambda losses: losses
    rows = _as_rows(arguments)
    order = torch.rand(rows["scores"].shape, generator=generator).argsort(1)
    changed = {name: value.gather(1, order) for name, value in _items_of(rows).items()}
    return rows | changed, lambda losses: losses


def _translate(arguments, generator):
    """Another constant for every list, exact where scores are on a lattice."""
    rows = _as_rows(arguments)
    if rows is None:
        return arguments | {"scores": arguments["scores"] - 3.25}, lambda losses: losses
    shift = torch.randint(-50, 50, (len(rows["scores"]), 1), generator=generator) / 4
    return rows | {"scores": rows["scores"] + shift}, lambda losses: losses


def _pad(arguments, generator):
    """Places that `where` leaves out, at both ends, full of what must not be read."""
    rows = _as_rows(arguments)
    if rows is None:
        return None
    where = rows.get("where")
    where = torch.ones_like(rows["scores"], dtype=torch.bool) if where is None else where

    def framed(values, fill):
        left, right = (values.new_full((len(values), k), fill) for k in (2, 3))
        return torch.cat([left, values, right], dim=1)

    changed = {
        name: framed(value, NAN if value.is_floating_point() else -3)
        for name, value in _items_of(rows).items()
        if value.dtype != torch.bool
    }
    if rows["labels"].dtype == torch.bool:
        changed["labels"] = framed(rows["labels"], True)
    return rows | changed | {"where": framed(where, False)}, lambda losses: losses


def _to_ragged(arguments, generator):
    rows = _as_rows(arguments)
    if rows is None:
        return None
    where = rows.get("where")
    where = torch.ones_like(rows["scores"], dtype=torch.bool) if where is None else where
    flat = {name: value[where] for name, value in _items_of(rows).items() if name != "where"}
    offsets = torch.cat([torch.zeros(1, dtype=LONG), where.sum(1).cumsum(0)])
    return rows | flat | {"where": None, "offsets": offsets}, lambda losses: losses


def _double_list_weights(arguments, generator):
    lists = _number_of_lists(arguments)
    weights = arguments.get("list_weights")
    weights = arguments["scores"].new_ones(lists) if weights is None else weights
    return arguments | {"list_weights": 2 * weights}, lambda losses: 2 * losses


def _number_of_lists(arguments):
    if arguments.get("offsets") is not None:
        return len(arguments["offsets"]) - 1
    return len(arguments["scores"]) if arguments["scores"].dim() == 2 else 1


def _real_labels(arguments, generator):
    """Integers are fine as labels, and so are the same real numbers."""
    if arguments["labels"].is_floating_point():
        return None
    return arguments | {"labels": arguments["labels"].to(torch.float32)}, lambda losses: losses


LIST_INVARIANCES = (
    Invariance("lists permuted", _permute_lists),
    Invariance("items permuted", _permute_items),
    Invariance("translated", _translate),
    Invariance("padded more", _pad),
    Invariance("as ragged lists", _to_ragged),
    Invariance("list weights doubled", _double_list_weights),
    Invariance("labels as real numbers", _real_labels),
)


def _double_weights(arguments, generator):
    weights = arguments.get("weights")
    weights = torch.ones_like(arguments["scores"]) if weights is None else weights
    return arguments | {"weights": 2 * weights}, lambda losses: 2 * losses


def _by_pairs(arguments, generator):
    return arguments | {"method": "pairs"}, lambda losses: losses


def _by_sweeps(arguments, generator):
    return arguments | {"method": "sorted"}, lambda losses: losses


def _spread_labels(arguments, generator):
    """Only their order counts, unless pairs are weighted by their difference."""
    if arguments.get("pair_weight", "none") != "none":
        return None
    return arguments | {"labels": 3 * arguments["labels"].float() + 7}, lambda losses: losses


def _double_labels(arguments, generator):
    if arguments.get("pair_weight", "none") != "label_diff":
        return None
    return arguments | {"labels": 2 * arguments["labels"].double()}, lambda losses: 2 * losses


PAIR_SUM_INVARIANCES = (
    *LIST_INVARIANCES,
    Invariance("weights doubled", _double_weights),
    Invariance("by pairs", _by_pairs),
    Invariance("by sorted sweeps", _by_sweeps),
    Invariance("labels spread", _spread_labels),
    Invariance("labels doubled", _double_labels),
)


# ------------------------------------------------------------------------------------------ bounds


def list_memory_bound(arguments, wrt):
    """Bytes: whatever the length of a list, a constant number an item and a list."""
    items = arguments["scores"].numel()
    return 96 * items + 64 * _number_of_lists(arguments) + 256 * 1024
