"""Bayesian personalised ranking by its definition."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._pairs import reduce_pairs


def bpr_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    positive_where: Tensor | None = None,
    negative_where: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.bpr_loss`, see there.

    Stores every difference. Gradients come from autograd and may be differentiated again.
    """
    return reduce_pairs(
        lambda gaps: -F.logsigmoid(-gaps),
        positive, negative, positive_where, negative_where, weights, reduction,
    )  # fmt: skip
