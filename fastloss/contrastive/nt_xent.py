"""NT-Xent, the loss of SimCLR: two views of every item, each the other's positive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _checks, _pairwise

_OPERATOR = _pairwise.Operator("nt_xent", differentiable=(0, 1, 3))


def nt_xent(
    view1: Tensor,
    view2: Tensor,
    *,
    queue: Tensor | None = None,
    temperature: float | Tensor = 0.5,
    similarity: str = "cosine",
    decoupled: bool = False,
    weights: Tensor | None = None,
    group: Any = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Normalised temperature-scaled cross-entropy of two views of n items.

    With the 2n rows :math:`z` of both views and :math:`t(i)` the other view of row i,

    .. math::
        L_i = \log \Big( \sum_{j \ne i} e^{s_{ij}} + \sum_q e^{s_{iq}} \Big) - s_{i\,t(i)},
        \qquad s_{ij} = \mathrm{sim}(z_i, z_j) / \tau

    (Chen et al. 2020), q running over the queue. Every row but the row itself is in the
    denominator, the positive included. A score serves both of its rows, so that only half of the
    2n × 2n matrix is computed. It is never stored: temporaries stay within
    :func:`fastloss.workspace_limit`, beside both views side by side, gradient accumulators of the
    size of the inputs and O(n) numbers.

    Args:
        view1: (n, d), float32, float64, bfloat16 or float16.
        view2: (n, d), dtype and device of view1; row i is the other view of row i.
        queue: (k, d), further negatives of every row (as MoCo's).
        temperature: τ > 0, divides the similarity. A float or a 0-dim tensor, which may require
            grad.
        similarity: "cosine" (a zero row has similarity 0 and gradient 0), "dot", "euclidean" or
            "sqeuclidean" (both negative distances).
        decoupled: leave the positive out of the denominator (Yeh et al. 2022).
        weights: (n,), not negative, one weight an item, for both of its rows; without gradient.
        group: reserved for distributed batches; must be None.
        reduction: "mean" (over the 2n rows: Σ wᵢLᵢ / Σ wᵢ), "sum" or "none" (wᵢLᵢ).

    Returns:
        A 0-dim tensor, or (2n,) for "none", view1 then view2; float32 for 16-bit operands, else
        their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, negative weights, weights that require grad. The
            message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.
        NotImplementedError: group is not None.

    Notes:
        With no item, or weights that sum to 0, the loss is 0 with zero gradients. A decoupled row
        without a negative (n = 1, no queue) has nothing to average. A NaN in any row gives NaN.
        With G the product of all 2n rows with each other, half a G is done without gradients; with
        gradients 2 G, or down to 1½ as the scores fit the workspace; "none" takes 2. A queue's
        scores come beside, with one product for the gradient of the views and one for its own.
        Scores, sums and gradients are float32 for 16-bit operands, which are multiplied unrounded;
        gradients are rounded once, after the upstream gradient was applied. Sums are deterministic:
        the same bits at the same thread count, workspace limit and processor. Second derivatives
        are not defined.

    Example:
        >>> import torch, fastloss
        >>> view1 = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> view2 = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> round(fastloss.nt_xent(view1, view2, temperature=0.5).item(), 4)
        0.6367

    References:
        Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
        arXiv:2002.05709. Yeh et al. 2022, "Decoupled Contrastive Learning", arXiv:2110.06848.
    """
    op = "nt_xent"
    _checks.no_group(op, group)
    view1, view2, queue = _pairwise.autocast(view1, view2, queue)
    _checks.floating(op, "view1", view1)
    _checks.shape(op, "view1", view1, ("n", "d"))
    _checks.floating(op, "view2", view2, like=view1, of="view1")
    n, d = view1.shape
    _checks.shape(op, "view2", view2, (n, d), " as view1")
    if d == 0:
        raise ValueError(f"{op}: view1 must have at least one feature, got {tuple(view1.shape)}")
    if queue is not None:
        _checks.floating(op, "queue", queue, like=view1, of="view1")
        _checks.shape(op, "queue", queue, ("k", d), " with d as view1")
    if weights is not None:
        _checks.vector(op, "weights", weights, view1, view1, integer=False, of="view1")
        _checks.no_grad(op, "weights", weights)
    temperature_tensor, temperature = _checks.positive_scalar(
        op, "temperature", temperature, view1, "view1"
    )
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    _checks.flag(op, "decoupled", decoupled)
    tensors = (torch.cat([view1, view2]), queue, weights, temperature_tensor)
    return _pairwise.apply(_OPERATOR, tensors, (temperature, similarity, decoupled), reduction)
