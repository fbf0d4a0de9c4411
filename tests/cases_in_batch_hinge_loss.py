"""in_batch_hinge_loss: what differs from in_batch.py."""

from __future__ import annotations

import math
from dataclasses import replace

import fastloss.reference
import in_batch
from bad_arguments import put
from case import Case, Error


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
    # At equality a pair has neither loss nor gradient.
    for edge in in_batch.edges(of_equal_scores=0.0, margin=0.0):
        if "equal" in edge.name:
            yield replace(edge, name=f"no margin, {edge.name}")


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
