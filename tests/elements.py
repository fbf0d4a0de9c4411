"""Edges and invariances shared by the losses of single scores. Their "rows" are the elements."""

from __future__ import annotations

import torch

from bad_arguments import META, put, shape
from case import Edge, Error, Invariance
from scores import INF, LARGE, NAN, SMALL, THREAD_SIZES, ScoreSize, edge, normal, vectors_bound

# Spans of 1024, their remainders, more than a task.
SIZES = (
    ScoreSize(19, 37),
    ScoreSize(3, 6001),
    ScoreSize(1, 1),
    ScoreSize(1, 1024),
    ScoreSize(1025, 1),
    ScoreSize(70, 33, scale=2.0**-10),
    ScoreSize(70, 33, scale=32.0),
)
SMALL, LARGE, THREAD_SIZES = SMALL, LARGE, THREAD_SIZES


def bound(arguments, wrt):
    """The returned gradient, and with "none" the losses; sums of every 16 384 elements; a copy of
    labels that are stored in another type."""
    first, labels = list(arguments.values())[:2]
    copied = 4 * first.numel() if labels.dtype != first.dtype else 0
    losses = 4 * first.numel() if arguments.get("reduction") == "none" else 0
    # grad_loss and the gradient are of the loss's size.
    return 2 * losses + copied + vectors_bound(arguments, wrt, per_row=1)


def common_edges(draw, required):
    """`required`: the scores and their targets."""
    scores, target = required

    def call(change, size=None):
        return edge(draw, required, change, size)

    def shaped(*dims):
        def change(i):
            n = 1
            for dim in dims:
                n *= dim
            return {name: i[name].flatten()[:n].reshape(dims) for name in required}

        return change

    def strided(i):
        return {scores: i[scores].repeat_interleave(2, 1)[:, ::2],
                target: i[target].T.contiguous().T}  # fmt: skip

    def expanded(i):
        return {name: i[name][:1].expand(6, 9) for name in required}

    def poisoned(i):
        values = i[scores].clone()
        values[2, 4] = NAN
        return {scores: values}

    yield Edge("no elements", call(lambda i: {}, SMALL._replace(n=0)))
    yield Edge("0-dim", call(shaped()))
    yield Edge("1-dim", call(shaped(11)))
    yield Edge("4-dim", call(shaped(2, 3, 1, 4)))
    yield Edge("strided", call(strided))
    yield Edge("expanded", call(expanded))
    yield Edge("NaN score", call(poisoned), gradients=False)


def columns_permuted(*names):
    """Elements keep their losses, in their new places; a weight of columns moves with them."""

    def change(arguments, generator):
        order = torch.randperm(arguments[names[0]].shape[-1], generator=generator)
        changed = {
            name: arguments[name].index_select(-1, order)
            for name in names
            if isinstance(arguments.get(name), torch.Tensor)
            and arguments[name].dim()
            and arguments[name].shape[-1] == len(order)
        }
        return arguments | changed, lambda elements: elements[..., order]

    return Invariance("columns permuted", change)


def repeated_weight_errors(name):
    """A weight of a shape that can be repeated to (4, 6)."""
    for wrong in ((4,), (5, 6), (4, 6, 1), (2, 6), (1, 4, 6)):
        yield Error(f"{name} {wrong}", shape(name, *wrong), ValueError, name)
    yield Error(f"{name} integer", shape(name, 4, 6, dtype=torch.int64), TypeError, name)
    yield Error(f"{name} complex", shape(name, 4, 6, dtype=torch.complex64), TypeError, name)
    yield Error(f"{name} number", put(**{name: 0.5}), TypeError, name)
    yield Error(f"{name} device", put(**{name: torch.zeros(4, 6, device=META)}), ValueError, name)
    needs_grad = torch.ones(4, 6, requires_grad=True)
    yield Error(f"{name} requires grad", put(**{name: needs_grad}), ValueError, name)
    for dims in ((4, 6), (6,), (4, 1), ()):
        values = torch.ones(dims)
        values[(-1,) * len(dims)] = -1
        yield Error(f"{name} negative {dims}", put(**{name: values}), ValueError, name)


def poison_where_0(values, weight):
    """Scores of weight 0 are not seen, whatever they are."""
    return torch.where(weight == 0, torch.tensor([NAN, INF, -INF])[torch.arange(values.shape[-1])
                       % 3].to(values), values)  # fmt: skip


def score_normal(generator, size):
    return normal(generator, size.n, size.m) * size.scale + size.offset
