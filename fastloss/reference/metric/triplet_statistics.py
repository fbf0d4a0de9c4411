"""Counts of triplets by their definition."""

from __future__ import annotations

from torch import Tensor

from ...metric.triplet_statistics import TripletStatistics
from ._candidates import distances, positives_and_negatives


def triplet_statistics(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    similarity: str = "euclidean",
) -> TripletStatistics:
    """The executable definition of :func:`fastloss.triplet_statistics`, see there.

    Stores n · m² comparisons, for the Euclidean similarities also n · m · d differences.
    """
    distance = distances(embeddings.detach(), ref_embeddings, similarity).detach()
    positive, negative = positives_and_negatives(labels, ref_labels)
    near, far = distance[:, :, None], distance[:, None, :]
    valid = positive[:, :, None] & negative[:, None, :]

    def mean_over(pairs: Tensor) -> Tensor:
        return distance[pairs].sum() / pairs.sum().clamp(min=1)

    return TripletStatistics(
        active=(valid & (far < near + margin)).sum(),
        valid=valid.sum(),
        hard=(valid & (far <= near)).sum(),
        semi_hard=(valid & (near < far) & (far < near + margin)).sum(),
        mean_positive_distance=mean_over(positive),
        mean_negative_distance=mean_over(negative),
    )
