"""Kullback–Leibler divergence of a distribution and the softmax of logits by its definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def kl_div_with_logits(
    input: Tensor,
    target: Tensor,
    *,
    direction: str = "forward",
    log_target: bool = False,
    reduction: str = "batchmean",
) -> Tensor:
    """The executable definition of :func:`fastloss.kl_div_with_logits`, see there.

    Stores the log-probabilities. Gradients come from autograd and may be differentiated again.
    """
    target = target.to(input.dtype)
    has_classes = (input != -math.inf).any(-1)
    log_p = input.masked_fill(~has_classes[..., None], 0.0).log_softmax(-1)
    log_t = target if log_target else target.log()
    t = target.exp() if log_target else target
    if direction == "forward":
        share, gap = t, log_t - log_p
    elif direction == "reverse":
        share, gap = log_p.exp(), log_p - log_t
    else:
        raise ValueError(f'direction must be "forward" or "reverse", got {direction!r}')
    # 0 · log 0 = 0, in the gradient too: a share of 0 gets a finite stand-in for its logarithm.
    terms = torch.where(share == 0, 0.0, share) * torch.where(share == 0, 0.0, gap)
    loss = torch.where(has_classes, terms.sum(-1), 0.0)

    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction in ("mean", "batchmean"):
        return loss.sum() / has_classes.sum().clamp(min=1)
    raise ValueError(f'reduction must be "batchmean", "mean", "sum" or "none", got {reduction!r}')
