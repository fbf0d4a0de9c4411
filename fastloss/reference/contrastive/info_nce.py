"""InfoNCE by its definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..logarithms import relative_to_largest
from ..reduction import reduce_rows
from ..similarity import own_similarity, pairwise_similarity


def info_nce(
    query: Tensor,
    key: Tensor,
    target: Tensor | None = None,
    *,
    negatives: Tensor | None = None,
    temperature: float | Tensor = 0.07,
    similarity: str = "cosine",
    key_bias: Tensor | None = None,
    key_ids: Tensor | None = None,
    label_smoothing: float = 0.0,
    margin: float = 0.0,
    decoupled: bool = False,
    weights: Tensor | None = None,
    group: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.info_nce`, which documents the arguments.

    Stores all n · (m + h) scores, for the Euclidean similarities also n · (m + h) · d differences.
    Gradients come from autograd and may be differentiated again.
    """
    if group is not None:
        raise NotImplementedError("info_nce: group is not implemented")
    n, m = len(query), len(key)
    if target is None:
        target = torch.arange(n, device=query.device)
    is_target = torch.arange(m, device=query.device) == target[:, None]

    scores = pairwise_similarity(query, key, similarity)
    scores = (scores - margin * is_target.to(scores.dtype)) / temperature
    allowed = torch.ones_like(is_target)  # which scores enter the row's denominator
    if key_bias is not None:
        scores = scores + key_bias
        allowed = allowed & (scores != -math.inf)  # a bias of −inf removes a key, but not its NaN
    if key_ids is not None:
        allowed = allowed & ((key_ids != key_ids[target][:, None]) | is_target)
    if decoupled:
        allowed = allowed & ~is_target
    if negatives is not None:
        own = own_similarity(query, negatives, similarity) / temperature
        scores = torch.cat([scores, own], dim=1)
        allowed = torch.cat([allowed, torch.ones_like(own, dtype=torch.bool)], dim=1)

    scores = relative_to_largest(scores, allowed)
    positive = scores.gather(1, target[:, None]).squeeze(1)
    has_denominator = allowed.any(1)
    # An empty row gets a finite stand-in, so that no NaN enters its (zero) gradient.
    denominator = scores.masked_fill(~allowed, -math.inf)
    denominator = denominator.masked_fill(~has_denominator[:, None], 0.0)
    lse = denominator.logsumexp(1)
    loss = lse - positive
    if label_smoothing > 0:
        count = allowed.sum(1).clamp(min=1)
        mean_score = scores.masked_fill(~allowed, 0.0).sum(1) / count
        loss = (1 - label_smoothing) * loss + label_smoothing * (lse - mean_score)
    return reduce_rows(loss, has_denominator, weights, reduction)
