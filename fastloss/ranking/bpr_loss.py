"""Bayesian personalised ranking: a row's positives above its negatives."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _sampled


def bpr_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    positive_where: Tensor | None = None,
    negative_where: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""BPR loss of every positive against every negative of its row.

    .. math::
        L_b = \sum_{i,j} -\log \sigma(p_{bi} - n_{bj})
            = \sum_{i,j} \mathrm{softplus}(n_{bj} - p_{bi})

    (Rendle et al. 2009.) The pair-wise training mode of a recommender. The regularisation
    :math:`\lambda \lVert\theta\rVert^2` of the paper belongs to the optimiser (weight decay).

    The (b, p, n) differences are never stored: beside the scores stand gradients of their size.

    Args:
        positive: (b, p) scores of positives, or (b,), one a row; float32, float64, bfloat16 or
            float16.
        negative: (b, n) scores of negatives, or (b,); dtype and device of positive.
        positive_where: boolean, in the shape of positive; False leaves a score out, which may then
            hold anything.
        negative_where: the same for negative.
        weights: (b,), not negative, one weight a row; without gradient.
        reduction: "mean" (Σ w_b L_b / Σ w_b C_b with C_b the number of pairs of a row), "sum" or
            "none" (w_b L_b, sums over the pairs of a row).

    Returns:
        A 0-dim tensor, or (b,) for "none"; float32 for 16-bit scores, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape or device; negative weights; weights that require grad. The
            message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Rows without a pair count nothing; when no pair is left the loss is 0 with zero gradients. A
        row of weight 0 takes no part. A NaN in a score that is kept gives NaN. Time is O(p · n) a
        row; gradients are formed in the forward pass, if wanted. Sums and gradients are float32
        for 16-bit scores, and gradients are rounded once, after the upstream gradient was applied.
        Results are deterministic. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> positive, negative = torch.tensor([2.0]), torch.tensor([[2.0, 1.0]])
        >>> round(fastloss.bpr_loss(positive, negative).item(), 4)  # (log 2 + softplus(-1)) / 2
        0.5032

    References:
        Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback",
        arXiv:1205.2618.
    """
    op = "bpr_loss"
    sides = _sampled.sides(op, positive, negative, positive_where, negative_where)
    _sampled.row_weights(op, weights, positive)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    return _sampled.apply(op, (0, 1), (*sides, weights), (), reduction)
