"""Bayesian personalised ranking within a batch by its definition."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._in_batch import in_batch_loss


def in_batch_bpr_loss(
    query: Tensor,
    key: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    similarity: str = "dot",
    key_ids: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.in_batch_bpr_loss`, see there.

    Stores all n · m scores, for the Euclidean similarities also n · m · d differences. Gradients
    come from autograd and may be differentiated again.
    """

    def minus_log_sigmoid(gap: Tensor) -> Tensor:
        return -F.logsigmoid(-gap)

    return in_batch_loss(
        minus_log_sigmoid, query, key, temperature, similarity, key_ids, weights, reduction
    )
