"""The margin loss within a batch."""

from __future__ import annotations

from torch import Tensor

from .. import _checks
from ._in_batch import apply


def in_batch_hinge_loss(
    query: Tensor,
    key: Tensor,
    *,
    margin: float = 1.0,
    temperature: float | Tensor = 1.0,
    similarity: str = "dot",
    key_ids: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Margin loss with every other key of the batch as a negative.

    .. math::
        L_i = \sum_{j \ne i} \max(0,\ \mu - s_{ii} + s_{ij}),
        \qquad s_{ij} = \mathrm{sim}(q_i, k_j) / \tau

    (Weston & Watkins 1999, the classes being the keys of the batch). The loss of
    :func:`fastloss.pairwise_margin_loss` without the (n, m) matrix of negatives. The n × m
    scores are never stored: temporaries stay within :func:`fastloss.workspace_limit`, beside
    gradient accumulators of the size of the inputs and O(n + m) numbers.

    Args:
        query: (n, d), float32, float64, bfloat16 or float16.
        key: (m, d), m ≥ n, dtype and device of query. Row i is the positive of query i; further
            keys are negatives of all queries.
        margin: by how much the positive's score must exceed a negative's, in units of the score,
            that is after the division by τ.
        temperature: τ > 0, divides the similarity. A float or a 0-dim tensor, which may require
            grad.
        similarity: "cosine" (a zero row has similarity 0 and gradient 0), "dot", "euclidean"
            (−‖q − k‖) or "sqeuclidean" (−‖q − k‖²).
        key_ids: (m,) int64. A key with the id of key i, other than key i itself, is no negative of
            query i (duplicate items in the batch).
        weights: (n,), not negative, one weight a query; without gradient.
        reduction: "mean" (over the pairs of a query and a negative, each with its query's weight:
            Σ wᵢLᵢ / Σ wᵢ · number of negatives), "sum" or "none" (wᵢLᵢ).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; fewer keys than queries; negative weights;
            tensors without a defined gradient that require one. The message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.

    Notes:
        At the kink, and where the margin is kept, a pair has gradient 0. Without a pair (one key,
        all ids alike, weights of 0) the loss is 0 with zero gradients. A NaN in any row gives NaN.
        With gradients three matrix products are done, for "none" four, without gradients of query
        and key one, and a side that does not require grad saves its product. Scores, sums and
        gradients are float32 for 16-bit operands, which are multiplied unrounded; gradients are
        rounded once, after the upstream gradient was applied. Sums are deterministic: the same bits
        at the same thread count, workspace limit and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> key = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
        >>> round(fastloss.in_batch_hinge_loss(query, key).item(), 4)
        0.0
        >>> round(fastloss.in_batch_hinge_loss(query, key, margin=1.5).item(), 4)
        0.5

    References:
        Weston & Watkins 1999, "Support Vector Machines for Multi-Class Pattern Recognition", ESANN.
    """
    op = "in_batch_hinge_loss"
    options = (_checks.number(op, "margin", margin),)
    return apply(op, query, key, temperature, similarity, key_ids, weights, options, reduction)
