"""RankNet: the logistic loss of every pair of a list."""

from __future__ import annotations

import math

from torch import Tensor

from .. import _checks, _listwise
from . import _arguments

TIES = ("skip", "half")


def ranknet_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    sigma: float = 1.0,
    ties: str = "skip",
    pair_weight: str = "none",
    method: str = "auto",
    log_base: float | None = None,
    where: Tensor | None = None,
    offsets: Tensor | None = None,
    weights: Tensor | None = None,
    list_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""RankNet: an item should outscore every item of its list that has a lower label.

    .. math::
        L = \frac 1C \sum_{(i, j):\, y_i > y_j} \log\left(1 + e^{-\sigma (s_i - s_j)}\right)

    over the pairs of each list, C of them in the batch (Burges et al. 2005). No pair is
    materialised: memory is O(items). Long lists take sorted sweeps, l items in O(l log l) for two
    labels and O(l log l log k) for k, as exact as the sum over pairs to rounding; short lists a
    loop over their pairs.

    Args:
        scores: (b, l), or (l,) for one list, or (t,) with `offsets`; float32, float64, bfloat16 or
            float16.
        labels: shape of scores, real numbers, not negative; the larger the more relevant.
        sigma: σ > 0.
        ties: "skip" (a pair of equal labels is no pair) or "half" (each unordered pair of equal
            labels once, with target ½: the loss is least where both scores are equal).
        pair_weight: "none" or "label_diff", which multiplies a pair's loss by y_i − y_j and leaves
            the divisor of the mean as it is.
        method: "pairs" (the loop), "sorted" (the sweeps) or "auto", by the length of a list. All
            agree to rounding.
        log_base: divide by its logarithm, as 2 for bits; > 1. None is the natural logarithm.
        where: bool, shape of scores: which places hold an item. Others, at the end or between, are
            never read: they may hold NaN.
        offsets: (b + 1,) int64, ascending from 0 to t: list k is scores[offsets[k]:offsets[k+1]].
            Instead of `where`.
        weights: shape of scores, not negative; a pair weighs, and counts, what its higher-labelled
            item does (with equal labels the mean of both). Without gradient.
        list_weights: (b,), not negative, one weight a list; without gradient.
        reduction: "mean" (over all pairs of the batch), "sum", "none" (the sum of each list) or
            "mean_list" (the mean of each list, then over the lists with a pair).

    Returns:
        A 0-dim tensor, or (b,) for "none"; float32 for 16-bit scores, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, negative labels or weights, offsets that do not
            ascend from 0 to t, both `where` and `offsets`; labels or weights that require grad. The
            message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        With list weights the mean is Σ w_b P_b / Σ w_b C_b, P_b the sum and C_b the number of
        pairs of list b, or the sum of their weights. A list without a pair (empty, of one item,
        all labels equal, all masked) gives 0; when no pair is left the loss is 0 with zero
        gradients. A NaN in a score or label that is kept makes its list NaN. The gradients of a
        list sum to 0, and no pair's gradient is clamped: a badly misordered one keeps σ. Scores
        are differences only: an offset common to a list costs no digit. Sums and gradients are
        float32 for 16-bit scores, and rounded once, after the upstream gradient was applied. Sums
        are deterministic: the same bits at the same thread count and processor. Second derivatives
        are not defined. The sum over *all* i and j, as some texts have it, is another loss:
        symmetric, it drives all scores together.

    Example:
        >>> import torch, fastloss
        >>> scores = torch.tensor([[2.0, 1.0, 3.0], [1.0, 0.5, 1.5]])
        >>> labels = torch.tensor([[1, 0, 0], [0, 0, 1]])
        >>> round(fastloss.ranknet_loss(scores, labels).item(), 4)
        0.6035

    References:
        Burges et al. 2005, "Learning to Rank using Gradient Descent", ICML.
    """
    op = "ranknet_loss"
    _arguments.check_lists(op, scores, labels, where, offsets, weights, list_weights, reduction)
    sigma = _checks.positive(op, "sigma", sigma)
    _checks.choice(op, "ties", ties, TIES)
    _checks.choice(op, "pair_weight", pair_weight, _arguments.PAIR_WEIGHTS)
    _checks.choice(op, "method", method, _arguments.METHODS)
    scale = 1.0
    if log_base is not None:
        base = _checks.number(op, "log_base", log_base)
        if base <= 1:
            raise ValueError(f"{op}: log_base must be greater than 1, got {base}")
        scale = 1 / math.log(base)
    return _listwise.apply(
        op, (scores, labels, where, offsets, weights, list_weights),
        (sigma, ties == "half", pair_weight == "label_diff", method, scale), reduction,
    )  # fmt: skip
