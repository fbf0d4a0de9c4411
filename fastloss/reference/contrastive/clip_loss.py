"""The loss of CLIP by its definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..logarithms import relative_to_largest
from ..reduction import reduce_rows
from ..similarity import pairwise_similarity


def clip_loss(
    image: Tensor,
    text: Tensor,
    *,
    logit_scale: float | Tensor = 100.0,
    logit_bias: float | Tensor | None = None,
    similarity: str = "cosine",
    key_ids: Tensor | None = None,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    group: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.clip_loss`, which documents the arguments.

    Stores all n² scores, for the Euclidean similarities also n² · d differences. Gradients come
    from autograd and may be differentiated again.
    """
    if group is not None:
        raise NotImplementedError("clip_loss: group is not implemented")
    scores = pairwise_similarity(image, text, similarity) * logit_scale
    if logit_bias is not None:
        scores = scores + logit_bias
    allowed = torch.ones_like(scores, dtype=torch.bool)  # which scores enter the denominators
    if key_ids is not None:
        is_pair = torch.eye(len(image), dtype=torch.bool, device=image.device)
        allowed = (key_ids[:, None] != key_ids) | is_pair

    of_images = _cross_entropy_of_the_diagonal(scores, allowed, label_smoothing)
    of_texts = _cross_entropy_of_the_diagonal(scores.T, allowed.T, label_smoothing)
    counts = torch.ones(len(image), dtype=torch.bool, device=image.device)
    return reduce_rows((of_images + of_texts) / 2, counts, weights, reduction)


def _cross_entropy_of_the_diagonal(scores: Tensor, allowed: Tensor, smoothing: float) -> Tensor:
    """Row by row, over the allowed scores only: (n,)."""
    scores = relative_to_largest(scores, allowed)
    lse = scores.masked_fill(~allowed, -math.inf).logsumexp(1)
    loss = lse - scores.diagonal()
    if smoothing > 0:
        mean_score = scores.masked_fill(~allowed, 0.0).sum(1) / allowed.sum(1)
        loss = (1 - smoothing) * loss + smoothing * (lse - mean_score)
    return loss
