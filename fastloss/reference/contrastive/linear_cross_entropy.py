"""Cross-entropy of a linear layer by its definition."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..logarithms import relative_to_largest


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.linear_cross_entropy`, see there.

    Stores the (n, c) logits. Gradients come from autograd and may be differentiated again.
    """
    if input.dim() == 1:
        loss = linear_cross_entropy(
            input[None],
            linear_weight,
            target[None],
            linear_bias=linear_bias,
            weight=weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )
        return loss.squeeze(0) if reduction == "none" else loss

    kept = torch.ones_like(target, dtype=torch.bool)
    if ignore_index is not None:
        kept = target != ignore_index
    input, target = input[kept], target[kept]  # the others are not read, not even their NaN
    scores = F.linear(input, linear_weight, linear_bias)
    allowed = scores != -math.inf  # a bias of −inf removes a class, but not its NaN
    weight = scores.new_ones(len(linear_weight)) if weight is None else weight

    scores = relative_to_largest(scores, allowed)
    has_denominator = allowed.any(1)
    # An empty row gets a finite stand-in, so that no NaN enters its (zero) gradient.
    denominator = scores.masked_fill(~has_denominator[:, None], 0.0)
    lse = denominator.logsumexp(1)
    positive = scores.gather(1, target[:, None]).squeeze(1)
    share = (1 - label_smoothing) * weight[target]
    # Weight 0 costs nothing, not even where the target's class is removed and its loss infinite.
    loss = share * torch.where(share == 0, 0.0, lse - positive)
    if label_smoothing > 0:
        gaps = lse[:, None] - scores.masked_fill(~allowed, 0.0)
        total = (weight * gaps).masked_fill(~allowed, 0.0).sum(1)
        loss = loss + label_smoothing * total / allowed.sum(1).clamp(min=1)
    loss = torch.where(has_denominator, loss, 0.0)

    if reduction == "none":
        return loss.new_zeros(len(kept)).masked_scatter(kept, loss)
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        total = (weight[target] * has_denominator).sum()
        mean = loss.sum() / torch.where(total == 0, 1.0, total)
        return torch.where(total == 0, 0.0, mean)
    raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
