"""in_batch_hinge_loss: what differs from in_batch.py."""

from __future__ import annotations

import math

import torch

import fastloss.reference
import in_batch
from bad_arguments import put
from case import Case, Edge, Error


def variants():
    return in_batch.variants(
        extra=(
            ("no margin", {"margin": 0.0}, {}),
            ("negative margin", {"margin": -0.3}, {}),
            ("margin all", {"margin": 0.7}, dict.fromkeys(("weights",), "weights")),
        )
    )


def edges():
    yield from in_batch.edges(of_equal_scores=1.0)

    def whole_numbers(dtype):
        query = torch.tensor([[1, 2], [0, -1], [3, 1]], dtype=dtype)
        key = torch.tensor([[1, 1], [3, 0], [0, 2], [1, 1], [5, 0], [-1, 0]], dtype=dtype)
        return {"query": query, "key": key, "margin": 1.0}

    # 1 − s_ii + s_ij: 1, 2, 1, 3, −3 with s_00 = 3; 0, −1, 0, 1, 1 with s_11 = 0; 3, 8, 3, 14, −4
    # with s_22 = 2. At equality a pair has neither loss nor gradient.
    yield Edge("pairs at the kink", whole_numbers, rows=[7.0, 2.0, 28.0])


def errors():
    yield from in_batch.errors()
    for value in (math.nan, math.inf):
        yield Error(f"margin {value}", put(margin=value), ValueError, "margin")
    for value in ("1", None, True):
        yield Error(f"margin {value}", put(margin=value), TypeError, "margin")


CASE = Case(
    **in_batch.shared(
        "in_batch_hinge_loss",
        "InBatchHingeLoss",
        fastloss.reference.in_batch_hinge_loss,
        variants(),
        edges(),
        errors(),
        module_options=("margin",),
    ),
    invariances=in_batch.INVARIANCES + in_batch.SCALED,
)
