"""The margin loss within a batch by its definition."""

from __future__ import annotations

import torch
from torch import Tensor

from ._in_batch import in_batch_loss


def in_batch_hinge_loss(
    query: Tensor,
    key: Tensor,
    *,
    margin: float = 1.0,
    temperature: float | Tensor = 1.0,
    similarity: str = "dot",
    key_ids: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.in_batch_hinge_loss`, see there.

    Stores all n · m scores, for the Euclidean similarities also n · m · d differences. Gradients
    come from autograd and may be differentiated again.
    """

    def hinge(gap: Tensor) -> Tensor:
        excess = margin + gap
        return torch.where(excess <= 0, 0.0, excess)  # no gradient at the kink, NaN stays

    return in_batch_loss(hinge, query, key, temperature, similarity, key_ids, weights, reduction)
