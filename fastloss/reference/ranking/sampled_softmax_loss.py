"""Sampled softmax by its definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..logarithms import softplus
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
    # Relative to the positive, so that an offset common to a row costs no digits.
    own_column = positive[:, None]
    gaps = (torch.where(negative_where, negative, own_column) - own_column) / temperature
    if positive_log_q is not None:
        own = own - positive_log_q
        gaps = gaps + positive_log_q[:, None]
    if negative_log_q is not None:
        gaps = gaps - negative_log_q
    gaps = torch.where(negative_where, gaps, -math.inf)
    has_others = (gaps != -math.inf).any(1)
    # A row without negatives gets a finite stand-in, so that no NaN enters its (zero) gradient.
    gaps = gaps.masked_fill(~has_others[:, None], 0.0)
    # Relative to the largest: a normaliser of 1e5 would round the probabilities.
    top = gaps.detach().amax(1) if gaps.shape[1] else own.detach()
    top = top.where(top.isfinite(), 0.0)
    normaliser = top + (gaps - top[:, None]).logsumexp(1)
    # lse − own = softplus(normaliser), with the digits of small losses and of slopes near 1.
    loss = torch.where(has_others, softplus(normaliser), own.where(own.isnan(), 0.0))
    return reduce_rows(loss, torch.ones_like(loss, dtype=torch.bool), weights, reduction)
