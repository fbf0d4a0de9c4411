"""Binary cross-entropy of logits by its definition."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reduction import reduce_elements, without_unweighted


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.binary_cross_entropy_with_logits`, see there.

    Stores both logarithms. Gradients come from autograd and may be differentiated again.
    """
    input = without_unweighted(input, weight, 0.0)
    target = target.to(input.dtype)
    own = target if pos_weight is None else pos_weight * target
    loss = _term(own, -F.logsigmoid(input))
    loss = loss + _term(1 - target, -F.logsigmoid(-input))
    return reduce_elements(loss, weight, reduction, divide_by_weights=False)


def _term(share: Tensor, loss: Tensor) -> Tensor:
    """share · loss, where a share of 0 does not see an infinite loss."""
    return share * torch.where((share == 0) & (loss == math.inf), 0.0, loss)
