"""Log-sum-exp of all scores of a query, or of a key: the normaliser of contrastive losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import _checks, _pairwise

_OPERATOR = _pairwise.Operator("pairwise_logsumexp", differentiable=(0, 1, 2, 3))


def pairwise_logsumexp(
    query: Tensor,
    key: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    similarity: str = "dot",
    key_bias: Tensor | None = None,
    dim: int = 1,
) -> Tensor:
    r"""Log-sum-exp of the scores of two embedding sets along one dimension, without the scores.

    .. math::
        \mathrm{lse}_i = \log \sum_j \exp s_{ij},
        \qquad s_{ij} = \mathrm{sim}(q_i, k_j) / \tau + b_j

    for dim=1, and :math:`\log \sum_i \exp s_{ij}` for dim=0. The building block of normalised
    losses that this library does not have: partition functions, free energies, soft maxima. The
    n × m scores are never stored: temporaries stay within :func:`fastloss.workspace_limit`, beside
    gradient accumulators of the size of the inputs and O(n + m) numbers.

    Args:
        query: (n, d), float32, float64, bfloat16 or float16.
        key: (m, d), dtype and device of query.
        temperature: τ > 0, divides the similarity. A float or a 0-dim tensor, which may require
            grad.
        similarity: "dot", "cosine" (a zero row has similarity 0 and gradient 0), "euclidean" or
            "sqeuclidean" (both negative distances).
        key_bias: (m,) floating, added to the scores of a key; −inf removes the key.
        dim: the dimension that is summed: 1 (keys) or 0 (queries).

    Returns:
        (n,) for dim=1, (m,) for dim=0; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value. The message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.

    Notes:
        The sum of no terms (no keys, every key removed) is −inf with zero gradients. A NaN row
        makes the sums NaN that it takes part in. One matrix product without gradients; backward
        recomputes the scores, four products in all. Scores, sums and gradients are float32 for
        16-bit operands, which are multiplied unrounded. Sums are deterministic: the same bits at
        the same thread count, workspace limit and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> key = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> fastloss.pairwise_logsumexp(query, key)
        tensor([1.6931, 1.3133])

    References:
        Milakov & Gimelshein 2018, "Online normalizer calculation for softmax", arXiv:1805.02867.
    """
    op = "pairwise_logsumexp"
    query, key = _pairwise.autocast(query, key)
    _checks.floating(op, "query", query)
    _checks.shape(op, "query", query, ("n", "d"))
    _checks.floating(op, "key", key, like=query)
    d = query.shape[1]
    _checks.shape(op, "key", key, ("m", d), " with d as query")
    if d == 0:
        raise ValueError(f"{op}: query must have at least one feature, got {tuple(query.shape)}")
    if key_bias is not None:
        _checks.vector(op, "key_bias", key_bias, query, key, integer=False)
    temperature_tensor, temperature = _checks.positive_scalar(op, "temperature", temperature, query)
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"{op}: dim must be an int, got {type(dim).__name__}")
    if dim not in (0, 1):
        raise ValueError(f"{op}: dim must be 0 or 1, got {dim}")
    options = (temperature, similarity)
    if dim == 1:
        tensors = (query, key, key_bias, temperature_tensor)
        return _pairwise.apply(_OPERATOR, tensors, options, "none")
    # A key's bias is the same in every term of its sum.
    lse = _pairwise.apply(_OPERATOR, (key, query, None, temperature_tensor), options, "none")
    if key_bias is None:
        return lse
    bias = key_bias.to(lse.dtype)
    # An empty sum and a removed key have the constant −inf: no gradient, though a NaN shows.
    constant = ((bias == -math.inf) | (lse == -math.inf)) & ~lse.isnan()
    return torch.where(constant, -math.inf, lse + bias)
