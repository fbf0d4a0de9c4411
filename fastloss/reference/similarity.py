"""Similarities of embeddings, written as their definitions.

All functions broadcast over the leading dimensions and reduce the last one. A NaN in a row gives
NaN wherever that row takes part.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIMILARITIES = ("cosine", "dot", "euclidean", "sqeuclidean")


def pairwise_similarity(query: Tensor, key: Tensor, similarity: str) -> Tensor:
    """Similarity of every query (n, d) with every key (m, d): (n, m).

    The Euclidean ones store all n · m · d differences: subtracting first keeps small distances
    between large vectors exact.
    """
    if similarity == "dot":
        return query @ key.T
    if similarity == "cosine":
        return unit_rows(query) @ unit_rows(key).T
    return _minus_distance(query[:, None, :] - key[None, :, :], similarity)


def own_similarity(query: Tensor, negatives: Tensor, similarity: str) -> Tensor:
    """Similarity of each query (n, d) with its own negatives (n, h, d): (n, h)."""
    if similarity == "dot":
        return (query[:, None, :] * negatives).sum(-1)
    if similarity == "cosine":
        return (unit_rows(query)[:, None, :] * unit_rows(negatives)).sum(-1)
    return _minus_distance(query[:, None, :] - negatives, similarity)


def unit_rows(x: Tensor) -> Tensor:
    """x / ‖x‖ along the last dimension; a zero row stays zero and has gradient zero.

    Rows are first divided by their largest entry, so that squares neither overflow nor vanish.
    The direction does not depend on that factor, hence it is a constant in differentiation.
    """
    largest = x.detach().abs().amax(-1, keepdim=True)
    x = x / torch.where(largest == 0, 1.0, largest)
    squared_norm = x.square().sum(-1, keepdim=True)
    is_zero = squared_norm == 0
    # The inner where keeps 1/sqrt(0) out of the backward pass: 0 · inf would be NaN.
    inverse_norm = torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squared_norm).rsqrt())
    return x * inverse_norm


def _minus_distance(difference: Tensor, similarity: str) -> Tensor:
    squared = difference.square().sum(-1)
    if similarity == "sqeuclidean":
        return -squared
    if similarity == "euclidean":
        # The square root has gradient 0 at 0, where its derivative does not exist.
        is_zero = squared == 0
        return -torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squared).sqrt())
    raise ValueError(f"similarity must be one of {SIMILARITIES}, got {similarity!r}")
