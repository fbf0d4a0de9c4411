"""semi_hard_triplet_loss: its variants, edges and errors."""

from __future__ import annotations

import bad_arguments as bad
from case import Case, Variant
from fastloss.reference.metric._candidates import positives_and_negatives
from fastloss.reference.metric.semi_hard_triplet_loss import loss_of_distances
from labelled import (
    INVARIANCES,
    REFERENCES,
    SHARED,
    eager_distances,
    edges,
    errors,
)
from pairwise import SIMILARITIES


def variants():
    references = {name: name for name in REFERENCES}
    for similarity in SIMILARITIES:
        options = {"similarity": similarity}
        yield Variant(f"{similarity}, plain", options | {"margin": 0.3}, {})
        yield Variant(f"{similarity}, all", options | {"margin": 1.0}, references)
    yield Variant("euclidean, no margin", {"similarity": "euclidean", "margin": 0.0}, {})


def eager_semi_hard_triplet_loss(
    embeddings,
    labels,
    *,
    ref_embeddings=None,
    ref_labels=None,
    margin=1.0,
    similarity="euclidean",
    reduction="mean",
):
    return loss_of_distances(
        eager_distances(embeddings, ref_embeddings, similarity),
        *positives_and_negatives(labels, ref_labels),
        margin=margin,
        reduction=reduction,
    )


def all_errors():
    yield from errors()
    yield from bad.choice_errors("reduction", "average")


CASE = Case(
    **SHARED,
    name="semi_hard_triplet_loss",
    module="SemiHardTripletLoss",
    module_options=("margin", "similarity"),
    variants=tuple(variants()),
    eager=eager_semi_hard_triplet_loss,
    invariances=INVARIANCES,
    edges=tuple(edges()),
    errors=tuple(all_errors()),
)
