"""semi_hard_triplet_loss: its variants, edges and errors."""

from __future__ import annotations

import bad_arguments as bad
from case import Case, Variant
from fastloss.reference.metric._candidates import positives_and_negatives
from fastloss.reference.metric.semi_hard_triplet_loss import loss_of_distances
from labelled import (
    INVARIANCES,
    REFERENCES,
    draw,
    eager_distances,
    edges,
    errors,
    memory_bound,
    products,
)
from pairwise import SIMILARITIES, PairSize


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
    name="semi_hard_triplet_loss",
    module="SemiHardTripletLoss",
    module_options=("margin", "similarity"),
    draw=draw,
    required=("embeddings", "labels"),
    operands=("embeddings",),
    rows_are_independent=False,
    sizes=(
        PairSize(41, 37, 33),
        PairSize(37, 40, 70),
        PairSize(1, 1, 1),
        PairSize(3, 3, 4),
        PairSize(50, 20, 8),
        PairSize(31, 40, 17, scale=30.0),
        PairSize(18, 15, 17, offset=3.0),
    ),
    small=PairSize(4, 6, 3),
    large=PairSize(1024, 1024, 64),
    variants=tuple(variants()),
    thread_sizes=((45, 40), (3, 60)),
    few=("euclidean, all",),
    eager=eager_semi_hard_triplet_loss,
    differentiable=("embeddings", "ref_embeddings"),
    invariances=INVARIANCES,
    edges=tuple(edges()),
    errors=tuple(all_errors()),
    memory_bound=memory_bound,
    products=products,
)
