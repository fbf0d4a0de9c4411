"""batch_all_triplet_loss: its variants, edges and errors."""

from __future__ import annotations

import bad_arguments as bad
from case import Case, Variant
from fastloss.reference.metric._candidates import positives_and_negatives
from fastloss.reference.metric.batch_all_triplet_loss import loss_of_distances
from labelled import (
    FAR_CLASSES_OF_ONE,
    INVARIANCES,
    REFERENCES,
    SHARED,
    eager_distances,
    edges,
    errors,
    labelled_edges,
)
from pairwise import SIMILARITIES


def variants():
    references = {name: name for name in REFERENCES}
    shared = [
        ("plain", {"margin": 0.3}, {}),
        ("valid", {"margin": 0.3, "average": "valid"}, {}),
        ("softplus", {"margin": 0.3, "hinge": "softplus"}, {}),
        ("all", {"margin": 1.0}, references),
    ]
    for similarity in SIMILARITIES:
        for name, options, inputs in shared:
            yield Variant(f"{similarity}, {name}", {"similarity": similarity} | options, inputs)
    euclidean = {"similarity": "euclidean"}
    yield Variant("euclidean, no margin", euclidean | {"margin": 0.0}, {})
    yield Variant("euclidean, softplus all", euclidean | {"hinge": "softplus"}, references)


def eager_batch_all_triplet_loss(
    embeddings,
    labels,
    *,
    ref_embeddings=None,
    ref_labels=None,
    margin=1.0,
    similarity="euclidean",
    hinge="relu",
    average="active",
    reduction="mean",
):
    return loss_of_distances(
        eager_distances(embeddings, ref_embeddings, similarity),
        *positives_and_negatives(labels, ref_labels),
        margin=margin,
        hinge=hinge,
        average=average,
        reduction=reduction,
    )


def all_errors():
    yield from errors()
    yield from bad.choice_errors("hinge", "none")
    yield from bad.choice_errors("average", "all")
    yield from bad.choice_errors("reduction", "average")


CASE = Case(
    **SHARED,
    name="batch_all_triplet_loss",
    module="BatchAllTripletLoss",
    module_options=("margin", "similarity", "hinge", "average"),
    variants=tuple(variants()),
    eager=eager_batch_all_triplet_loss,
    invariances=(*INVARIANCES, FAR_CLASSES_OF_ONE),
    edges=(*edges(), *labelled_edges("euclidean", hinge="softplus", average="valid")),
    errors=tuple(all_errors()),
)
