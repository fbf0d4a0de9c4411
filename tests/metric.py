"""Inputs, edges, invariances and errors shared by the losses of rows against rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

import bad_arguments as bad
from bad_arguments import META, put, shape
from case import Edge, Error, Invariance
from scores import along, beside_errors, doubled

INF = math.inf
NAN = math.nan


class MetricSize(NamedTuple):
    """n rows of d features, h negatives a row; features times `scale` plus `offset`."""

    n: int
    d: int
    h: int = 3
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_trivial(self):
        return self.d == 1  # a cosine of one feature is constant

    def resized(self, n=None, m=None, d=None, h=None):
        given = {"n": n, "d": d, "h": h}
        return self._replace(**{name: x for name, x in given.items() if x is not None})

    def __str__(self):
        text = f"{self.n}x{self.h}x{self.d}"
        text += f"-scale{self.scale:g}" if self.scale != 1 else ""
        return text + (f"-offset{self.offset:g}" if self.offset else "")


# Vectors of 16 and their remainders, more rows than a task has, one of each.
SIZES = (
    MetricSize(127, 33),
    MetricSize(3, 300, 5),
    MetricSize(1, 2, 1),  # of one feature, a cosine is rounding: an edge has it
    MetricSize(700, 130, 2),
    MetricSize(5, 16, 0),
    MetricSize(61, 17, scale=1e-3),
    MetricSize(61, 17, scale=30.0),
    MetricSize(61, 16, offset=100.0),
)
SMALL = MetricSize(4, 3, 2)
LARGE = MetricSize(4096, 128, 1)
THREAD_SIZES = ((1200, 0), (3, 0))


def draw(generator, dtype, size):
    """Positives near their anchors, some rows equal; skewed features, nothing symmetric."""
    n, d, h, scale, offset = size

    skew = 0.1 * torch.linspace(-1, 1, d, dtype=torch.float64)

    def features(*dims):
        x = torch.randn(dims, generator=generator).double()
        return x.addcmul_(x, x, value=0.2).add_(skew).div_(math.sqrt(max(d, 1)))

    anchor = features(n, d)
    positive, negative = features(n, d) + 0.5 * anchor, features(n, d)
    negatives = features(n, h, d)
    rows = {
        "anchor": anchor, "positive": positive, "negative": negative, "negatives": negatives,
        "x1": anchor, "x2": positive + 0.3 * negative,
    }  # fmt: skip
    if (scale, offset) != (1, 0):
        rows = {name: x * scale + offset for name, x in rows.items()}
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    weights[1::5] = 0
    unread = (weights == 0)[:, None]
    rows |= {f"{name}_poisoned": torch.where(unread, NAN, rows[name]) for name in ("anchor",)}
    label = torch.randint(2, (n,), generator=generator)
    inputs = {name: x.to(dtype) for name, x in (rows | {"weights": weights}).items()}
    return inputs | {
        "label": label,
        "label_boolean": label == 1,
        "label_float": label.to(torch.float64),
    }


def edge_inputs(n, d, dtype, **size):
    return draw(torch.Generator().manual_seed(3), dtype, MetricSize(n, d, **size))


def row_edges(required, **options):
    """Edges that every loss of rows must pass; the first two of `required` are compared."""
    first, second, *_ = required

    def call(change, n=6, d=5, **size):
        def arguments(dtype):
            inputs = edge_inputs(n, d, dtype, **size)
            return {name: inputs[name] for name in required} | options | change(inputs)

        return arguments

    def changed(name, place, value):
        def change(i):
            rows = i[name].clone()
            rows[place] = value
            return {name: rows}

        return change

    def strided(i):
        return {first: i[first].T.contiguous().T,
                second: i[second].repeat_interleave(2, 0)[::2]}  # fmt: skip

    def expanded(i):
        return {name: i[name][:1].expand(6, 5) for name in required if i[name].dim() == 2}

    def same_object(i):
        return {second: i[first]}

    def all_equal(i):
        return {name: i[first].clone() for name in required if i[name].dim() == 2}

    label = options.get("similarity", "")
    for name, arguments, rest in [
        ("empty batch", call(lambda i: {}, n=0), {"rows": []}),
        ("one row", call(lambda i: {}, n=1), {}),
        ("one feature", call(lambda i: {}, d=1), {"terms": 100.0}),
        ("zero row", call(changed(first, 2, 0.0)), {}),
        ("zero rows", call(lambda i: changed(first, 2, 0.0)(i) | changed(second, 2, 0.0)(i)), {}),
        ("two equal rows", call(lambda i: {second: i[first].clone()}), {}),
        ("one tensor twice", call(same_object), {}),
        ("all equal", call(all_equal), {}),
        ("strided", call(strided), {}),
        ("expanded", call(expanded), {}),
        ("offset 100", call(lambda i: {}, n=40, offset=100.0), {}),
        ("NaN in the first", call(changed(first, (2, 1), NAN)), {"gradients": False}),
        ("NaN in the second", call(changed(second, (2, 1), NAN)), {"gradients": False}),
    ]:
        yield Edge(f"{label}: {name}" if label else name, arguments, **rest)


def extreme_edges(required, similarities, **options):
    """Norms that leave the range of squares: ±1e18 in float32, far more in float64."""

    def rows_times(similarity, factor):
        def arguments(dtype):
            inputs = edge_inputs(8, 5, dtype)
            power = 1 if dtype == torch.float32 else 6
            changed = {
                name: inputs[name] * factor**power if inputs[name].dim() == 2 else inputs[name]
                for name in required
            }
            return changed | {"similarity": similarity} | options

        return arguments

    for similarity in similarities:
        for factor in (1e-18, 1e18, 1e-30, 1e30):
            yield Edge(
                f"{similarity}: norms around {factor:g}",
                rows_times(similarity, factor),
                terms=0.0 if similarity == "euclidean" and factor > 1 else 1.0,
            )


# ------------------------------------------------------------------------------------- invariances


def every(change, names, applies=lambda arguments: True):
    """The law that a change of all rows changes no loss."""

    def law(arguments, generator):
        if not applies(arguments):
            return None
        moved = change(arguments, generator)
        changed = {name: moved(arguments[name]) for name in names}
        return arguments | changed, lambda rows: rows

    return law


def _rotation(arguments, generator):
    first = next(iter(arguments.values()))
    d = first.shape[1]
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    return lambda rows: rows @ rotation.to(rows)


def _shift(arguments, generator):
    first = next(iter(arguments.values()))
    offset = torch.randn(first.shape[1], generator=generator, dtype=torch.float64)
    return lambda rows: rows + offset.to(rows)


def _permutation(arguments, generator):
    order = torch.randperm(next(iter(arguments.values())).shape[1], generator=generator)
    return lambda rows: rows[..., order]


def is_invariant_to_rotation(arguments):
    return arguments.get("p", 2) == 2 and arguments.get("eps", 0) == 0


def knows_differences_only(arguments):
    return arguments.get("similarity", "euclidean") in ("euclidean", "sqeuclidean")


def invariances(names, beside=()):
    return (
        Invariance("rows permuted", along(0, *names, *beside)),
        Invariance("features permuted", every(_permutation, names)),
        Invariance("rotated", every(_rotation, names, is_invariant_to_rotation)),
        Invariance("features shifted", every(_shift, names, knows_differences_only)),
    )


WEIGHTS_DOUBLED = doubled("weights", lambda a: a["anchor"].new_ones(len(a["anchor"])))


# ------------------------------------------------------------------------------------------ bounds


def bound(arguments, wrt):
    """Gradients returned, one number a distance, O(n) vectors, the rows a thread works on."""
    first = next(iter(arguments.values()))
    returned = sum(arguments[n].element_size() * arguments[n].numel() for n in wrt)
    negatives = arguments.get("negative", first)
    h = negatives.shape[1] if negatives.dim() == 3 else 1
    at_work = torch.get_num_threads() * 2 * (2 + h) * first.shape[1]
    return returned + 4 * (h + 8) * len(first) + 8 * at_work + 64 * 1024


# ------------------------------------------------------------------------------------------ errors


def row_errors(first, *others):
    """Rows beside each other, all (4, 3)."""
    value, kind = ValueError, TypeError
    yield from bad.operand_errors(first, others[0], m=4)
    for name in others:
        for dims in ((3, 3), (1, 3), (4,), (), (4, 1), (4, 3, 1, 1)):
            yield Error(f"{name} {dims}", shape(name, *dims), value, name)
        for dtype in (torch.float64, torch.bfloat16, torch.int64, torch.bool):
            yield Error(f"{name} {dtype} beside", shape(name, 4, 3, dtype=dtype), kind, name)
        meta = torch.zeros(4, 3, device=META)
        yield Error(f"{name} on another device", put(**{name: meta}), value, name)


def label_errors():
    yield from beside_errors("label", 4, integer=True)
    for wrong in (2, -1, 0.5, NAN):
        label = torch.tensor([0, 1, 0, wrong])
        yield Error(f"label {wrong}", put(label=label), ValueError, "label")


def margin_errors():
    for wrong in (-0.1, NAN, INF):
        yield Error(f"margin {wrong}", put(margin=wrong), ValueError, "margin")
    yield Error("margin string", put(margin="1"), TypeError, "margin")
    yield Error("margin None", put(margin=None), TypeError, "margin")
