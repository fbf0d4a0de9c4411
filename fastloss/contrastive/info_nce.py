"""InfoNCE: softmax cross-entropy of a query's positive key against all other keys."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _checks, _ops
from .._autograd import first_derivative_only
from .._workspace import current_workspace_limit


class _InfoNCE(torch.autograd.Function):
    """Gradients are formed in the forward pass, for "none" recomputed in the backward pass.

    The first five inputs are those that may require grad; `settings` holds what is no tensor.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, query, key, negatives, key_bias, temperature, target, key_ids, weights, settings
    ):
        options, reduction, grad_enabled, workspace = settings
        arguments = (target, negatives, key_bias, key_ids, weights, temperature, *options)
        # Grad mode is off in here whatever the caller's is, and needs_input_grad does not know of
        # it: the caller says.
        wanted = list(ctx.needs_input_grad[:5]) if grad_enabled else [False] * 5
        recompute = reduction == "none"
        loss, rows, *gradients = _ops.call(
            "info_nce_forward", query, key, *arguments, reduction,
            [False] * 5 if recompute else wanted, workspace,
        )  # fmt: skip
        ctx.wanted = wanted
        if recompute:
            ctx.recompute = (options, workspace)
            ctx.save_for_backward(rows, query, key, *arguments[:6])
        else:
            ctx.recompute = None
            saved = [gradient for gradient, want in zip(gradients, wanted, strict=True) if want]
            # The own negatives' gradient is as large as they are: it is made from coefficients.
            ctx.save_for_backward(*saved, *((query, negatives) if wanted[2] else ()))
        return loss

    @staticmethod
    @first_derivative_only
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        result: list[Tensor | None] = [None] * 9
        saved = ctx.saved_tensors
        if ctx.recompute is None:
            gradients = iter(saved)
            for i, want in enumerate(ctx.wanted):
                if want and i == 2:
                    result[i] = _ops.call(
                        "negatives_gradient", *saved[-2:], next(gradients), grad_loss
                    )
                elif want:
                    result[i] = next(gradients) * grad_loss  # a new tensor: retain_graph
            return tuple(result)
        options, workspace = ctx.recompute
        rows, query, key, *tensors = saved
        gradients = _ops.call(
            "info_nce_backward", grad_loss, rows, query, key, *tensors, *options, ctx.wanted,
            workspace,
        )  # fmt: skip
        for i, want in enumerate(ctx.wanted):
            if want:
                result[i] = gradients[i]
        if ctx.wanted[2]:
            one = query.new_ones(())
            result[2] = _ops.call("negatives_gradient", query, tensors[1], gradients[2], one)
        return tuple(result)


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
        query: (n, d), float32 or float64.
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
        A 0-dim tensor, or (n,) for "none", of the dtype of query.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; target out of range; negative weights; tensors
            without a defined gradient that require one. The message names the argument.
        RuntimeError: CUDA tensors (this build has no CUDA kernels).
        NotImplementedError: group is not None.

    Notes:
        A row with nothing in its denominator (decoupled without a negative, every key removed)
        is left out, its weight included; when no row is left the loss is 0 with zero gradients.
        A NaN in any kept row gives NaN. "mean" and "sum" form the gradients in the forward pass
        (three matrix products in all), "none" recomputes the scores in the backward pass (four);
        without gradients one product is done. Sums are deterministic: the same bits at the same
        thread count, workspace limit and processor. The loss is computed as softplus of the gap
        between negatives and positive, so that small losses keep full relative precision.
        Second derivatives are not defined.

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
    _checks.embeddings(op, "query", query)
    _checks.shape(op, "query", query, ("n", "d"))
    _checks.embeddings(op, "key", key, like=query)
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
        _checks.embeddings(op, "negatives", negatives, like=query)
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
    options = (temperature, similarity, margin, [smoothing, float(decoupled)])
    settings = (options, reduction, torch.is_grad_enabled(), current_workspace_limit())
    loss: Tensor = _InfoNCE.apply(  # type: ignore[no-untyped-call]
        query, key, negatives, key_bias, temperature_tensor, target, key_ids, weights, settings
    )
    return loss
