"""Edges and errors shared by the losses over lists of items."""

from __future__ import annotations

import torch

import bad_arguments as bad
from bad_arguments import EITHER, LONG, META, put, shape
from case import Edge, Error
from ranking import INF, NAN, SOME, ListSize, draw_lists


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
