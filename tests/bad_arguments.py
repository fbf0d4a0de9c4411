"""Wrong arguments that many losses may get, in terms of a good call with n = 4 and m = 6, d = 3."""

from __future__ import annotations

import math

import torch

from case import Error

LONG = torch.int64
META = torch.device("meta")
EITHER = (ValueError, TypeError)


def put(**changes):
    """Replace arguments; a callable gets the good arguments."""

    def change(good):
        return good | {k: v(good) if callable(v) else v for k, v in changes.items()}

    return change


def shape(name, *dims, dtype=torch.float32):
    return put(**{name: torch.zeros(dims, dtype=dtype)})


def operand_errors(first, second, m=6, least_dim=2):
    """Two embedding sets, (4, 3) and (m, 3); the first has at least `least_dim` dimensions."""
    value, kind = ValueError, TypeError
    yield Error(f"{first} is a list", put(**{first: [[1.0, 2.0, 3.0]]}), kind, first)
    yield Error(f"{first} is None", put(**{first: None}), kind, first)
    if least_dim == 2:
        yield Error(f"{first} 1-D", shape(first, 3), value, first)
    yield Error(f"{first} 0-D", shape(first), value, first)
    yield Error(f"{first} 3-D", shape(first, 4, 2, 3), value, first)
    for dtype in (LONG, torch.int8, torch.bool, torch.complex64):
        yield Error(f"{first} {dtype}", shape(first, 4, 3, dtype=dtype), kind, first)
    yield Error(f"{first} without features", shape(first, 4, 0), value, rf"({first}|{second})")
    yield Error(
        f"{second} is an array", put(**{second: lambda good: good[second].numpy()}), kind, second
    )
    yield Error(f"{second} 1-D", shape(second, 3), value, second)
    yield Error(f"{second} 3-D", shape(second, m, 1, 3), value, second)
    yield Error(f"{second} features", shape(second, m, 4), value, second)
    yield Error(f"{second} one feature", shape(second, m, 1), value, second)
    for dtype in (torch.float64, torch.float16, torch.bfloat16, LONG, torch.complex64):
        yield Error(f"{second} {dtype}", shape(second, m, 3, dtype=dtype), kind, second)
    yield Error(f"{second} device", put(**{second: torch.zeros(m, 3, device=META)}), value, second)


def index_errors(name="target", classes=6):
    """One index of 0…classes − 1 a row; −100 is left to the loss."""
    value, kind = ValueError, TypeError
    yield Error(f"{name} is a list", put(**{name: [0, 1, 2, 3]}), kind, name)
    yield Error(f"{name} length", shape(name, 3, dtype=LONG), value, name)
    yield Error(f"{name} one entry", shape(name, 1, dtype=LONG), value, name)
    yield Error(f"{name} 0-D", shape(name, dtype=LONG), value, name)
    yield Error(f"{name} column", shape(name, 4, 1, dtype=LONG), value, name)
    yield Error(f"{name} float", shape(name, 4), kind, name)
    yield Error(f"{name} int32", shape(name, 4, dtype=torch.int32), kind, name)
    yield Error(f"{name} boolean", shape(name, 4, dtype=torch.bool), kind, name)
    for bad in (-1, classes, 2**62, -(2**62)):
        yield Error(f"{name} {bad}", put(**{name: torch.tensor([0, bad, 2, 3])}), value, name)
    needs_grad = torch.zeros(4, requires_grad=True)
    yield Error(f"{name} requires grad", put(**{name: needs_grad}), EITHER, name)
    meta = torch.zeros(4, dtype=LONG, device=META)
    yield Error(f"{name} device", put(**{name: meta}), value, name)


def vector_errors(name, length, wrong_length):
    """A floating vector: one number a row or a column."""
    yield Error(f"{name} length", shape(name, wrong_length), ValueError, name)
    yield Error(f"{name} one entry", shape(name, 1), ValueError, name)
    yield Error(f"{name} column", shape(name, length, 1), ValueError, name)
    yield Error(f"{name} 0-D", shape(name), ValueError, name)
    yield Error(f"{name} integer", shape(name, length, dtype=LONG), TypeError, name)
    yield Error(f"{name} complex", shape(name, length, dtype=torch.complex64), TypeError, name)
    yield Error(f"{name} number", put(**{name: 0.5}), TypeError, name)
    yield Error(f"{name} list", put(**{name: [1.0] * length}), TypeError, name)
    meta = torch.zeros(length, device=META)
    yield Error(f"{name} device", put(**{name: meta}), ValueError, name)


def weight_errors(name, length, wrong_length):
    """A vector that may neither be negative nor require grad."""
    yield from vector_errors(name, length, wrong_length)
    negative = torch.ones(length)
    negative[1] = -1
    yield Error(f"{name} negative", put(**{name: negative}), ValueError, name)
    needs_grad = torch.ones(length, requires_grad=True)
    yield Error(f"{name} require grad", put(**{name: needs_grad}), EITHER, name)


def id_errors(name, length, wrong_length):
    yield Error(f"{name} length", shape(name, wrong_length, dtype=LONG), ValueError, name)
    yield Error(f"{name} one entry", shape(name, 1, dtype=LONG), ValueError, name)
    yield Error(f"{name} column", shape(name, length, 1, dtype=LONG), ValueError, name)
    yield Error(f"{name} float", shape(name, length), TypeError, name)
    yield Error(f"{name} list", put(**{name: [0] * length}), TypeError, name)


def positive_scalar_errors(name):
    for bad in (0.0, -0.1, math.nan, math.inf):
        yield Error(f"{name} {bad}", put(**{name: bad}), ValueError, name)
        yield Error(f"{name} tensor {bad}", put(**{name: torch.tensor(bad)}), ValueError, name)
    yield Error(f"{name} string", put(**{name: "0.1"}), TypeError, name)
    yield Error(f"{name} None", put(**{name: None}), TypeError, name)
    yield Error(f"{name} boolean", put(**{name: True}), TypeError, name)
    yield Error(f"{name} 1-D", put(**{name: torch.tensor([0.1])}), ValueError, name)
    yield Error(f"{name} integer tensor", put(**{name: torch.tensor(1)}), TypeError, name)


def smoothing_errors():
    name = "label_smoothing"
    for bad in (-0.1, 1.1, math.nan):
        yield Error(f"{name} {bad}", put(**{name: bad}), ValueError, name)
    yield Error(f"{name} string", put(**{name: "a"}), TypeError, name)


def choice_errors(name, unknown):
    yield Error(f"{name} unknown", put(**{name: unknown}), ValueError, name)
    yield Error(f"{name} None", put(**{name: None}), EITHER, name)


def group_errors():
    yield Error("group", put(group=object()), NotImplementedError, "group")
