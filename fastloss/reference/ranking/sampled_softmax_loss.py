"""Sampled softmax by its definition."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reduction import reduce_rows


def sampled_softmax_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    positive_log_q: Tensor | None = None,
    negative_log_q: Tensor | None = None,
    negative_where: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.sampled_softmax_loss`, see there.

    Stores the scores of both sides once more. Gradients come from autograd and may be
    differentiated again.
    """
    if negative_where is None:
        negative_where = torch.ones_like(negative, dtype=torch.bool)
    if weights is not None:
        taken = weights != 0  # the other rows are not read
        negative_where = negative_where & taken[:, None]
        positive = torch.where(taken, positive, 0.0)
    own = positive / temperature
    others = torch.where(negative_where, negative, 0.0) / temperature
    if positive_log_q is not None:
        own = own - positive_log_q
    if negative_log_q is not None:
        others = others - negative_log_q
    others = torch.where(negative_where, others, -math.inf)
    has_others = (others != -math.inf).any(1)
    # A row without negatives gets a finite stand-in, so that no NaN enters its (zero) gradient.
    normaliser = others.masked_fill(~has_others[:, None], 0.0).logsumexp(1)
    # lse − own = softplus(normaliser − own), which keeps the digits of small losses.
    loss = torch.where(has_others, -F.logsigmoid(own - normaliser), own.where(own.isnan(), 0.0))
    return reduce_rows(loss, torch.ones_like(loss, dtype=torch.bool), weights, reduction)
