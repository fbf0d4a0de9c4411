"""Inputs, invariances and bounds shared by the losses of scores: pointwise ones, sampled rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from bad_arguments import EITHER, LONG, META, put, shape
from case import Error, Invariance

INF = math.inf
NAN = math.nan


class ScoreSize(NamedTuple):
    """n rows of m scores, and p beside them: places of a row, or positives."""

    n: int
    m: int
    p: int = 3
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_trivial(self):
        return self.m == 1  # one class has the whole softmax

    def resized(self, n=None, m=None, d=None, h=None):
        given = {"n": n, "m": m, "p": h}
        return self._replace(**{name: x for name, x in given.items() if x is not None})

    def __str__(self):
        text = f"{self.n}x{self.m}x{self.p}"
        text += f"-scale{self.scale:g}" if self.scale != 1 else ""
        return text + (f"-offset{self.offset:g}" if self.offset else "")


# Vectors of 16 and their remainders, one span and more, the group of places (16) and its remainder.
SIZES = (
    ScoreSize(19, 37),
    ScoreSize(3, 1300, 18),
    ScoreSize(1, 1, 1),
    ScoreSize(7, 1),
    ScoreSize(1, 2),
    ScoreSize(5, 129, 16),
    ScoreSize(300, 3, 2),
    ScoreSize(19, 37, scale=2.0**-10),
    ScoreSize(19, 37, scale=32.0),
    ScoreSize(19, 37, offset=1000.0),
)
SMALL = ScoreSize(4, 6)
LARGE = ScoreSize(512, 1024, 4)
THREAD_SIZES = ((1200, 40), (3, 40_000))


def normal(generator, *dims):
    return torch.randn(dims, generator=generator, dtype=torch.float64)


def uniform(generator, *dims):
    return torch.rand(dims, generator=generator, dtype=torch.float64)


def some_zero(values):
    """Every fourth weight is 0, and the poison there must not be seen."""
    values = values + 0.1
    values[1::4] = 0
    return values


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def edge(draw, required, change, size=None, seed=3):
    """The arguments of an edge: the required inputs, changed. `change` gets all inputs."""

    def arguments(dtype):
        inputs = draw(seeded(seed), dtype, size or ScoreSize(6, 9))
        return {name: inputs[name] for name in required} | change(inputs)

    return arguments


def along(dim, *names):
    """The law that permuting these inputs along a dimension permutes or keeps the rows."""

    def change(arguments, generator):
        first = arguments[names[0]]
        if first.dim() <= dim:
            return None
        order = torch.randperm(first.shape[dim], generator=generator)
        changed = {
            name: arguments[name].index_select(dim, order)
            for name in names
            if isinstance(arguments.get(name), torch.Tensor)
            and arguments[name].dim() > dim
            and arguments[name].shape[dim] == len(order)
        }
        return arguments | changed, (lambda rows: rows[order]) if dim == 0 else (lambda rows: rows)

    return change


def rows_permuted(*names):
    return Invariance("rows permuted", along(0, *names))


def doubled(name, value_of_default):
    """The law that doubling the weights doubles what is not averaged."""

    def change(arguments, generator):
        weights = arguments.get(name)
        weights = value_of_default(arguments) if weights is None else weights
        return arguments | {name: 2 * weights}, lambda rows: 2 * rows

    return Invariance("weights doubled", change)


def vectors_bound(arguments, wrt, *, per_row):
    """Bytes of a loss that recomputes: the gradient returned, and `per_row` numbers a row."""
    first = next(iter(arguments.values()))
    returned = sum(arguments[n].element_size() * arguments[n].numel() for n in wrt)
    rows = first.numel() // max(1, first.shape[1]) if first.dim() > 1 else first.numel()
    return returned + 8 * per_row * rows + 64 * 1024


# ------------------------------------------------------------------------------------------ errors


def score_errors(name, dims):
    yield Error(f"{name} is a list", put(**{name: [[1.0, 2.0]]}), TypeError, name)
    yield Error(f"{name} is None", put(**{name: None}), TypeError, name)
    for dtype in (LONG, torch.int8, torch.bool, torch.complex64):
        yield Error(f"{name} {dtype}", shape(name, *dims, dtype=dtype), TypeError, name)


def beside_errors(name, *dims, integer=False):
    """A tensor without gradient in this shape; with `integer` any type of number will do."""
    first, *others = dims
    yield Error(f"{name} rows", shape(name, first + 1, *others), ValueError, name)
    yield Error(f"{name} one row", shape(name, 1, *others), ValueError, name)
    yield Error(f"{name} column", shape(name, *dims, 1), ValueError, name)
    yield Error(f"{name} 0-D", shape(name), ValueError, name)
    yield Error(f"{name} complex", shape(name, *dims, dtype=torch.complex64), TypeError, name)
    if not integer:
        yield Error(f"{name} integer", shape(name, *dims, dtype=LONG), TypeError, name)
    yield Error(f"{name} number", put(**{name: 0.5}), TypeError, name)
    yield Error(f"{name} list", put(**{name: [1.0] * first}), TypeError, name)
    meta = torch.zeros(dims, device=META)
    yield Error(f"{name} device", put(**{name: meta}), ValueError, name)
    needs_grad = torch.ones(dims, requires_grad=True)
    yield Error(f"{name} require grad", put(**{name: needs_grad}), EITHER, name)


def negative_error(name, *dims):
    values = torch.ones(dims)
    values[(-1,) * len(dims)] = -1
    return Error(f"{name} negative", put(**{name: values}), ValueError, name)


def mask_errors(name, *dims):
    for dtype in (torch.float32, LONG, torch.uint8):
        yield Error(f"{name} {dtype}", shape(name, *dims, dtype=dtype), TypeError, name)
    first, *others = dims
    for wrong in ((first + 1, *others), (1, *others), (*dims, 1), ()):
        yield Error(f"{name} {wrong}", shape(name, *wrong, dtype=torch.bool), ValueError, name)
    yield Error(f"{name} list", put(**{name: [True] * first}), TypeError, name)


def value_errors(name, *values, like):
    """The last entry of a good tensor is one of these."""

    def changed(value):
        def change(good):
            wrong = good[like].clone() if name == like else good[name].clone()
            wrong.view(-1)[-1] = value
            return good | {name: wrong}

        return change

    for value in values:
        yield Error(f"{name} {value}", changed(value), ValueError, name)
