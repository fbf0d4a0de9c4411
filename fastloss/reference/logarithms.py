"""Logarithms of sums of exponentials, with digits and finite gradients where torch's have none."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def relative_to_largest(scores: Tensor, allowed: Tensor) -> Tensor:
    """The scores less the largest allowed one of each row, a constant.

    torch's `logsumexp` forms probabilities by way of its result, which is rounded to the size of
    the scores.
    """
    if scores.shape[1] == 0:
        return scores
    top = scores.detach().masked_fill(~allowed, -math.inf).amax(1, keepdim=True)
    return scores - top.where(top.isfinite(), 0.0)


def logsumexp_where(mask: Tensor, scores: Tensor) -> Tensor:
    """Log Σ exp of the scores of each row where the mask is True; where it is nowhere, −inf with
    gradient 0."""
    has_terms = mask.any(1)
    # A row without terms gets finite stand-ins, so that no NaN enters its (zero) gradient.
    terms = scores.masked_fill(~mask, -math.inf).masked_fill(~has_terms[:, None], 0.0)
    return torch.where(has_terms, terms.logsumexp(1), -math.inf)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), with the digits of small results."""
    infinite = x == math.inf
    finite = torch.logaddexp(x.masked_fill(infinite, 0.0), torch.zeros_like(x))
    return torch.where(infinite, x, finite)
