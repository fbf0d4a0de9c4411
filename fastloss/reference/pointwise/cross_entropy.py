"""Cross-entropy of logits by its definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.cross_entropy`, see there.

    Stores the log-probabilities and the smoothed target. Gradients come from autograd and may be
    differentiated again.
    """
    class_dim = 1 if input.dim() > 1 else 0
    logits = input.movedim(class_dim, -1)
    row_shape, classes = logits.shape[:-1], logits.shape[-1]
    logits = logits.reshape(row_shape.numel(), classes)
    weight = logits.new_ones(classes) if weight is None else weight

    if target.is_floating_point():
        kept = torch.ones(len(logits), dtype=torch.bool)
        shares = target.movedim(class_dim, -1).reshape(logits.shape).to(logits.dtype)
        divisors = logits.new_ones(len(logits))
    else:
        flat = target.reshape(-1)
        kept = torch.ones_like(flat, dtype=torch.bool)
        if ignore_index is not None:
            kept = flat != ignore_index
        logits, flat = logits[kept], flat[kept]  # the others are not read, not even their NaN
        shares = torch.zeros_like(logits).scatter(1, flat[:, None], 1.0)
        divisors = weight[flat]

    allowed = logits != -math.inf
    has_classes = allowed.any(1)
    uniform = allowed.to(logits.dtype) / allowed.sum(1, keepdim=True).clamp(min=1)
    shares = weight * ((1 - label_smoothing) * shares + label_smoothing * uniform)
    # A row without classes gets a finite stand-in, so that no NaN enters its (zero) gradient.
    gaps = -logits.masked_fill(~has_classes[:, None], 0.0).log_softmax(1)
    # A share of 0 does not see an infinite gap, in the gradient neither.
    terms = shares * torch.where(shares == 0, 0.0, gaps)
    loss = torch.where(has_classes, terms.sum(1), 0.0)

    if reduction == "none":
        return loss.new_zeros(len(kept)).masked_scatter(kept, loss).reshape(row_shape)
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        total = (divisors * has_classes).sum()
        return torch.where(total == 0, 0.0, loss.sum() / torch.where(total == 0, 1.0, total))
    raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
