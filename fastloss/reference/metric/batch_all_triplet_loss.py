"""The loss of all triplets by its definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._candidates import distances, mean_or_sums, positives_and_negatives


def batch_all_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    similarity: str = "euclidean",
    hinge: str = "relu",
    average: str = "active",
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.batch_all_triplet_loss`, see there.

    Stores n · m² gaps, for the Euclidean similarities also n · m · d differences. Gradients come
    from autograd and may be differentiated again.
    """
    return loss_of_distances(
        distances(embeddings, ref_embeddings, similarity),
        *positives_and_negatives(labels, ref_labels),
        margin=margin,
        hinge=hinge,
        average=average,
        reduction=reduction,
    )


def loss_of_distances(
    distance: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float,
    hinge: str,
    average: str,
    reduction: str,
) -> Tensor:
    gap = distance[:, :, None] - distance[:, None, :] + margin  # anchor, positive, negative
    valid = positive[:, :, None] & negative[:, None, :]
    if hinge == "relu":
        terms = torch.where(gap <= 0, 0.0, gap)  # and not F.relu: a NaN stays
        active = valid & (terms != 0)
    elif hinge == "softplus":
        terms, active = -F.logsigmoid(-gap), valid
    else:
        raise ValueError(f'hinge must be "relu" or "softplus", got {hinge!r}')
    if average not in ("active", "valid"):
        raise ValueError(f'average must be "active" or "valid", got {average!r}')
    terms = torch.where(valid, terms, 0.0)
    return mean_or_sums(terms, active if average == "active" else valid, reduction)
