"""InfoNCE: softmax cross-entropy of a query's positive key against all other keys."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import _checks, _pairwise

_OPERATOR = _pairwise.Operator("info_nce", differentiable=(0, 1, 3, 4, 7), negatives=3)


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
    group: Any = None,
    reduction: str = "mean",
) -> Tensor:
    r"""InfoNCE loss of every query against all keys, without the score matrix.

    .. math::
        L_i = \log \sum_{j\ \mathrm{allowed}} \exp s_{ij} - s_{i,t(i)},
        \qquad s_{ij} = \mathrm{sim}(q_i, k_j) / \tau + b_j

    (van den Oord et al. 2018; SimCLR, MoCo and in-batch softmax are special cases). The n × m
    scores are never stored: temporaries stay within :func:`fastloss.workspace_limit`, beside
    gradient accumulators of the size of the inputs and O(n + m) numbers.

    Args:
        query: (n, d), float32, float64, bfloat16 or float16.
        key: (m, d), dtype and device of query. Further keys than targets are shared negatives: a
            queue, mined negatives.
        target: (n,) int64 in [0, m), the positive key of each query. Default: 0 … n − 1 (then
            m ≥ n).
        negatives: (n, h, d), h own negatives of each query, beside the keys.
        temperature: τ > 0, divides the similarity. A float or a 0-dim tensor, which may require
            grad.
        similarity: "cosine" (a zero row has similarity 0 and gradient 0), "dot", "euclidean"
            (−‖q − k‖) or "sqeuclidean" (−‖q − k‖²).
        key_bias: (m,), b, added to every score of a key, the positive's too; differentiable.
            −log of the sampling probability gives the logQ correction; −inf removes the key.
        key_ids: (m,) int64. A key with the id of the target key, other than the target itself,
            leaves the row (duplicate items in the batch).
        label_smoothing: ε in [0, 1], moved from the target to all allowed keys evenly, the own
            negatives and the target included.
        margin: taken off the positive's similarity before τ, in numerator and denominator.
        decoupled: leaves the positive out of the denominator (Yeh et al. 2022); not together with
            label_smoothing.
        weights: (n,), not negative, one weight a query; without gradient.
        group: reserved for distributed batches; must be None.
        reduction: "mean" (Σ wᵢLᵢ / Σ wᵢ), "sum" or "none" (wᵢLᵢ).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; target out of range; negative weights; tensors
            without a defined gradient that require one. The message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.
        NotImplementedError: group is not None.

    Notes:
        A row with nothing in its denominator (decoupled without a negative, every key removed)
        is left out, its weight included; when no row is left the loss is 0 with zero gradients.
        A NaN in any kept row gives NaN. "mean" and "sum" form the gradients in the forward pass
        (three matrix products in all), "none" recomputes the scores in the backward pass (four);
        without gradients one product is done. Sums are deterministic: the same bits at the same
        thread count, workspace limit and processor. The loss is computed as softplus of the gap
        between negatives and positive, so that small losses keep full relative precision. Scores,
        sums and gradients are float32 for 16-bit operands, which are multiplied unrounded;
        gradients are rounded once, after the upstream gradient was applied. Second derivatives are
        not defined.

    Example:
        >>> import torch, fastloss
        >>> query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> key = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> round(fastloss.info_nce(query, key, temperature=0.5).item(), 4)
        0.3301

    References:
        van den Oord, Li, Vinyals 2018, "Representation Learning with Contrastive Predictive
        Coding", arXiv:1807.03748. Yeh et al. 2022, "Decoupled Contrastive Learning",
        arXiv:2110.06848. Bengio & Senécal 2008 (logQ correction).
    """
    op = "info_nce"
    _checks.no_group(op, group)
    query, key, negatives = _pairwise.autocast(query, key, negatives)
    _checks.floating(op, "query", query)
    _checks.shape(op, "query", query, ("n", "d"))
    _checks.floating(op, "key", key, like=query)
    n, d = query.shape
    _checks.shape(op, "key", key, ("m", d), " with d as query")
    if d == 0:
        raise ValueError(f"{op}: query must have at least one feature, got {tuple(query.shape)}")
    if target is not None:
        _checks.vector(op, "target", target, query, query, integer=True)
    elif n > key.shape[0]:
        raise ValueError(
            f"{op}: key must have at least as many rows as query when target is not given, "
            f"got {key.shape[0]} keys for {n} queries"
        )
    if negatives is not None:
        _checks.floating(op, "negatives", negatives, like=query)
        _checks.shape(op, "negatives", negatives, (n, "h", d), " with n, d as query")
    if key_bias is not None:
        _checks.vector(op, "key_bias", key_bias, query, key, integer=False)
    if key_ids is not None:
        _checks.vector(op, "key_ids", key_ids, query, key, integer=True)
    if weights is not None:
        _checks.vector(op, "weights", weights, query, query, integer=False)
        _checks.no_grad(op, "weights", weights)
    temperature_tensor, temperature = _checks.positive_scalar(op, "temperature", temperature, query)
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    smoothing = _checks.in_range(op, "label_smoothing", label_smoothing, 0.0, 1.0)
    margin = _checks.number(op, "margin", margin)
    if _checks.flag(op, "decoupled", decoupled) and smoothing > 0:
        raise ValueError(f"{op}: label_smoothing must be 0 with decoupled=True, got {smoothing}")
    tensors = (
        query, key, target, negatives, key_bias, key_ids, weights, temperature_tensor,
    )  # fmt: skip
    options = (temperature, similarity, margin, smoothing, decoupled)
    return _pairwise.apply(_OPERATOR, tensors, options, reduction)
