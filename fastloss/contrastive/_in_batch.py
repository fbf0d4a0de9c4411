"""What the losses against all other keys of the batch share: their arguments, checked."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import _checks, _pairwise


def apply(
    op: str,
    query: Tensor,
    key: Tensor,
    temperature: float | Tensor,
    similarity: str,
    key_ids: Tensor | None,
    weights: Tensor | None,
    options: tuple[Any, ...],
    reduction: str,
) -> Tensor:
    """Check the arguments and run the loss; `options` are those of its own."""
    query, key = _pairwise.autocast(query, key)
    _checks.floating(op, "query", query)
    _checks.shape(op, "query", query, ("n", "d"))
    _checks.floating(op, "key", key, like=query)
    n, d = query.shape
    _checks.shape(op, "key", key, ("m", d), " with d as query")
    if d == 0:
        raise ValueError(f"{op}: query must have at least one feature, got {tuple(query.shape)}")
    if n > key.shape[0]:
        raise ValueError(
            f"{op}: key must have at least as many rows as query, "
            f"got {key.shape[0]} keys for {n} queries"
        )
    if key_ids is not None:
        _checks.vector(op, "key_ids", key_ids, query, key, integer=True)
    if weights is not None:
        _checks.vector(op, "weights", weights, query, query, integer=False)
        _checks.no_grad(op, "weights", weights)
    temperature_tensor, temperature = _checks.positive_scalar(op, "temperature", temperature, query)
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    tensors = (query, key, key_ids, weights, temperature_tensor)
    operator = _pairwise.Operator(op, differentiable=(0, 1, 4))
    return _pairwise.apply(operator, tensors, (temperature, similarity, *options), reduction)
