"""What the losses against all other keys of the batch share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..similarity import pairwise_similarity


def in_batch_loss(
    pair_loss: Callable[[Tensor], Tensor],
    query: Tensor,
    key: Tensor,
    temperature: float | Tensor,
    similarity: str,
    key_ids: Tensor | None,
    weights: Tensor | None,
    reduction: str,
) -> Tensor:
    """Σ_j pair_loss(s_ij − s_ii); a mean is over the pairs, each with its row's weight."""
    n = len(query)
    scores = pairwise_similarity(query, key, similarity) / temperature
    is_pair = torch.arange(len(key), device=query.device) != torch.arange(
        n, device=query.device
    ).unsqueeze(1)
    if key_ids is not None:
        is_pair = is_pair & (key_ids != key_ids[:n, None])
    loss = pair_loss(scores - scores.diagonal()[:, None])
    loss = loss.masked_fill(~is_pair, 0.0).sum(1)
    weights = loss.new_ones(n) if weights is None else weights
    loss = torch.where(weights == 0, 0.0, loss) * weights
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        total = (weights * is_pair.sum(1)).sum()
        return loss.sum() / torch.where(total == 0, 1.0, total)
    raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
