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

import bad_arguments as bad
from bad_arguments import EITHER, LONG, META, put, shape
from case import Edge, Error, Invariance, Variant

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
THREAD_SIZES = ((130, 40), (2, 1100))


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


# ------------------------------------------------------------------------------------------ edges


def call(scores, labels, **others):
    """Tensors of written lists in a given dtype; labels stay integers if they are."""

    def arguments(dtype):
        def tensor(values):
            return torch.tensor(values, dtype=dtype)

        result = {"scores": tensor(scores), "labels": torch.tensor(labels)}
        for name, value in others.items():
            if name in ("weights", "list_weights"):
                value = tensor(value)
            elif name in ("where", "offsets"):
                value = torch.tensor(value)
            result[name] = value
        return result

    return arguments


def drawn(change, size=SOME, seed=3, **options):
    """Drawn inputs, changed: `change(inputs)` returns the arguments."""

    def arguments(dtype):
        inputs = draw_lists(torch.Generator().manual_seed(seed), dtype, size)
        return change(inputs) | options

    return arguments


def empty(n, m=None):
    """n lists of no place at all, or of m masked ones."""

    def arguments(dtype):
        width = m or 0
        result = {
            "scores": torch.full((n, width), NAN, dtype=dtype),
            "labels": torch.full((n, width), -1),
        }
        return result | ({} if m is None else {"where": torch.zeros(n, m, dtype=torch.bool)})

    return arguments


def list_edges(**options):
    """Edges of every loss over lists. `options` go to all of them."""

    def with_options(arguments):
        return lambda dtype: arguments(dtype) | options

    def strided(inputs):
        wide = {k: inputs[k].repeat_interleave(2, 1)[:, ::2] for k in ("scores", "labels")}
        return wide | {"where": inputs["where"].T.contiguous().T} | masked_of(inputs)

    def masked_of(inputs):
        return {k: inputs[f"{k}_masked"].T.contiguous().T for k in ("scores", "labels")}

    def expanded(inputs):
        return {
            "scores": inputs["scores"][:1].expand(5, 9),
            "labels": inputs["labels"][:1].expand(5, 9),
        }

    def nan_score(inputs):
        scores = inputs["scores"].clone()
        scores[1, 3] = NAN
        return {"scores": scores, "labels": inputs["labels"]}

    def nan_label(inputs):
        labels = inputs["labels_real"].clone()
        labels[2, 0] = NAN
        return {"scores": inputs["scores"], "labels": labels}

    def weightless_nan(inputs):
        weights = torch.tensor([1.0, 0.0, 0.5, 2.0, 0.0]).to(inputs["scores"])
        return nan_score(inputs) | {"list_weights": weights}

    def no_list_weight(inputs):
        weights = torch.zeros(5, dtype=inputs["scores"].dtype)
        return {"scores": inputs["scores"], "labels": inputs["labels"], "list_weights": weights}

    def around(value):
        return lambda inputs: {"scores": inputs["scores"] + value, "labels": inputs["labels"]}

    def offsets_of_one(inputs):
        flat = {k: inputs[k].reshape(-1) for k in ("scores", "labels")}
        return flat | {"offsets": torch.tensor([0, flat["scores"].numel()])}

    edges = [
        Edge("no lists", empty(0), rows=[]),
        Edge("no lists of five places", empty(0, 5), rows=[]),
        Edge("lists of no place", empty(3), rows=[0.0] * 3),
        Edge("all masked", empty(3, 4), rows=[0.0] * 3),
        Edge("no ragged list", call([], [], offsets=[0]), rows=[]),
        Edge("empty ragged lists", call([], [], offsets=[0, 0, 0]), rows=[0.0, 0.0]),
        Edge("an empty single list", call([], []), rows=[0.0]),
        Edge("empty lists among others",
             call([2.0, 1.0, 3.0, 0.5], [1, 0, 0, 2], offsets=[0, 0, 3, 3, 3, 4, 4])),
        Edge("one masked list among others",
             call([[2.0, NAN, 3.0], [NAN, INF, NAN]], [[1, -5, 0], [-1, -1, -1]],
                  where=[[True, False, True], [False] * 3])),
        Edge("one ragged list", drawn(offsets_of_one)),
        Edge("strided", drawn(strided)),
        Edge("expanded", drawn(expanded)),
        Edge("all list weights zero", drawn(no_list_weight), rows=[0.0] * 5),
        Edge("scores around 1000", drawn(around(1000.0))),
        Edge("scores around -1000", drawn(around(-1000.0))),
        Edge("NaN score", drawn(nan_score), gradients=False),
        Edge("NaN label", drawn(nan_label), gradients=False),
        Edge("NaN in a list of weight 0", drawn(weightless_nan), gradients=False),
        Edge("NaN in a list of one item", call([[NAN]], [[1]]), rows=[NAN], gradients=False),
    ]  # fmt: skip
    return tuple(
        Edge(edge.name, with_options(edge.arguments), edge.rows, edge.gradients, edge.terms)
        for edge in edges
    )


def pair_sum_edges(name="", **options):
    """Edges of the sums over pairs: the same by pairs and by sweeps."""
    counts_ties = options.get("ties") == "half"

    def ties(inputs):
        scores = (inputs["scores"] * 2).round() / 2
        return {"scores": scores, "labels": inputs["labels"]}

    def duplicates(inputs):
        return {k: inputs[k][:, :3].repeat(1, 60) for k in ("scores", "labels")}

    def no_weight(inputs):
        return {
            "scores": inputs["scores"],
            "labels": inputs["labels"],
            "weights": torch.zeros_like(inputs["scores"]),
        }

    def no_weight_on_top(inputs):
        weights = torch.where(inputs["labels"] > 0, 0.0, 1.0).to(inputs["scores"])
        return {k: inputs[k] for k in ("scores", "labels")} | {"weights": weights}

    def nan_score(inputs):
        scores = inputs["scores"].clone()
        scores[1, 3] = NAN
        return {"scores": scores, "labels": inputs["labels"]}

    def around_1000(inputs):
        return {"scores": inputs["scores"] + 1000.0, "labels": inputs["labels"]}

    def far_apart(inputs):
        return {"scores": inputs["scores"] * 1e4, "labels": inputs["labels"]}

    for method in ("pairs", "sorted"):
        for edge in (
            Edge("one item a list", call([[1.0], [2.0]], [[1], [0]]), rows=[0.0, 0.0]),
            Edge("one item left",
                 call([[1.0, NAN]], [[1, -1]], where=[[True, False]]), rows=[0.0]),
            Edge("all scores tied", call([[2.0] * 5], [[0, 1, 2, 1, 0]])),
            Edge("labels of 0 and 10⁶", call([[0.5, 0.25, 1.0]], [[0, 10**6, 3]]), terms=1e6),
            Edge("many score ties", drawn(ties, ListSize(3, 200))),
            Edge("duplicates", drawn(duplicates)),
            Edge("all weights zero", drawn(no_weight), rows=[0.0] * 5),
            Edge("no weight on top", drawn(no_weight_on_top),
                 rows=None if counts_ties else [0.0] * 5),
            Edge("10⁴ apart", drawn(far_apart), terms=1e4),
            Edge("10⁴ apart, long", drawn(far_apart, ListSize(2, 300)), terms=1e4),
            Edge("NaN score, long", drawn(nan_score, ListSize(3, 200)), gradients=False),
            Edge("around 1000, long", drawn(around_1000, ListSize(2, 300))),
        ):  # fmt: skip

            def arguments(dtype, edge=edge, method=method):
                return edge.arguments(dtype) | {"method": method} | options

            full_name = ", ".join(filter(None, [name, f"{method}: {edge.name}"]))
            yield Edge(full_name, arguments, edge.rows, edge.gradients, edge.terms)


# ----------------------------------------------------------------------------------------- errors


def item_errors(name, dtype):
    """A tensor with an entry for every score, (4, 6)."""
    for dims in ((4, 5), (3, 6), (4, 1), (1, 6), (24,), (4, 6, 1), (6, 4), (), (0, 6)):
        yield Error(f"{name} {dims}", shape(name, *dims, dtype=dtype), ValueError, name)
    yield Error(f"{name} list", put(**{name: [[1] * 6] * 4}), TypeError, name)
    yield Error(f"{name} number", put(**{name: 1.0}), TypeError, name)
    yield Error(f"{name} complex", shape(name, 4, 6, dtype=torch.complex64), TypeError, name)
    meta = torch.zeros(4, 6, dtype=dtype, device=META)
    yield Error(f"{name} device", put(**{name: meta}), ValueError, name)


def item_weight_errors():
    name = "weights"
    yield from item_errors(name, torch.float32)
    yield Error(f"{name} integer", shape(name, 4, 6, dtype=LONG), TypeError, name)
    negative = torch.ones(4, 6)
    negative[3, 5] = -1e-9
    yield Error(f"{name} negative", put(weights=negative), ValueError, name)
    needs_grad = torch.ones(4, 6, requires_grad=True)
    yield Error(f"{name} require grad", put(weights=needs_grad), EITHER, name)


def flat(**changes):
    """The good call's items as ragged lists of 6, with these changes."""

    def change(good):
        ragged = {name: good[name].flatten() for name in ("scores", "labels")}
        return good | ragged | {"offsets": torch.tensor([0, 6, 12, 18, 24])} | changes

    return change


def list_errors():
    """The good call: scores and labels (4, 6)."""
    value, kind = ValueError, TypeError
    yield Error("scores list", put(scores=[[1.0] * 6] * 4), kind, "scores")
    yield Error("scores None", put(scores=None), kind, "scores")
    yield Error("scores 0-D", shape("scores"), value, "scores")
    yield Error("scores 3-D", shape("scores", 4, 6, 1), value, "scores")
    for dtype in (LONG, torch.int8, torch.bool, torch.complex64):
        yield Error(f"scores {dtype}", shape("scores", 4, 6, dtype=dtype), kind, "scores")
    yield from item_errors("labels", LONG)
    yield Error("labels None", put(labels=None), kind, "labels")
    needs_grad = torch.zeros(4, 6, requires_grad=True)
    yield Error("labels require grad", put(labels=needs_grad), EITHER, "labels")
    for last in (-1, -(2**62)):
        labels = torch.zeros(4, 6, dtype=LONG)
        labels[3, 5] = last
        hint = r"labels\b.*\bwhere = labels >= 0"
        yield Error(f"labels {last}", put(labels=labels), value, hint)
    yield Error("labels -0.5", put(labels=torch.full((4, 6), -0.5)), value, "labels")
    yield Error("labels -inf", put(labels=torch.full((4, 6), -INF)), value, "labels")
    negative = torch.full((24,), -1)
    yield Error("labels -1, ragged", flat(labels=negative), value, "labels")
    yield from item_errors("where", torch.bool)
    for dtype in (LONG, torch.uint8, torch.float32):
        yield Error(f"where {dtype}", shape("where", 4, 6, dtype=dtype), kind, "where")
    both = flat(where=torch.ones(24, dtype=torch.bool))
    yield Error("where and offsets", both, value, "where")

    for name, offsets in {
        "descend": [0, 12, 6, 18, 24],
        "end before t": [0, 6, 12, 18, 23],
        "end after t": [0, 6, 12, 18, 25],
        "end at 2⁶²": [0, 6, 12, 18, 2**62],
        "pass t": [0, 6, 30, 30, 24],
        "start at 1": [1, 6, 12, 18, 24],
        "start at -1": [-1, 6, 12, 18, 24],
        "negative": [0, -6, 12, 18, 24],
        "one that is 0": [0],
        "one that is t": [24],
    }.items():
        yield Error(f"offsets {name}", flat(offsets=torch.tensor(offsets)), value, "offsets")
    yield Error("offsets empty", flat(offsets=torch.zeros(0, dtype=LONG)), value, "offsets")
    yield Error("offsets 0-D", flat(offsets=torch.tensor(24)), value, "offsets")
    yield Error("offsets column", flat(offsets=torch.tensor([[0], [24]])), value, "offsets")
    for dtype in (torch.int32, torch.float32, torch.bool):
        offsets = torch.tensor([0, 24]).to(dtype)
        yield Error(f"offsets {dtype}", flat(offsets=offsets), kind, "offsets")
    yield Error("offsets list", flat(offsets=[0, 6, 12, 18, 24]), kind, "offsets")
    meta = torch.tensor([0, 24]).to(META)
    yield Error("offsets device", flat(offsets=meta), value, "offsets")
    padded = put(offsets=torch.tensor([0, 6, 12, 18, 24]))
    yield Error("offsets of padded scores", padded, value, "scores")
    yield Error("scores column with offsets", flat(scores=torch.ones(24, 1)), value, "scores")
    yield Error("ragged labels short", flat(labels=torch.zeros(23, dtype=LONG)), value, "labels")

    yield from bad.weight_errors("list_weights", 4, 6)
    name = "list_weights"
    yield Error(f"{name} ragged", flat(list_weights=torch.ones(24)), value, name)
    one_list = put(scores=torch.ones(6), labels=torch.ones(6), list_weights=torch.ones(6))
    yield Error(f"{name} of one list", one_list, value, name)
    yield from bad.choice_errors("reduction", "batchmean")


def pair_sum_errors():
    yield from list_errors()
    yield from item_weight_errors()
    yield from bad.choice_errors("method", "fast")
    yield from bad.choice_errors("pair_weight", "labels")


# ------------------------------------------------------------------------------------------ bounds


def list_memory_bound(arguments, wrt):
    """Bytes: whatever the length of a list, a constant number an item and a list."""
    items = arguments["scores"].numel()
    return 96 * items + 64 * _number_of_lists(arguments) + 256 * 1024
