"""The hinge, or squared hinge, of every pair of a list."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _listwise
from . import _arguments


def pairwise_hinge_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    margin: float = 1.0,
    power: int = 1,
    pair_weight: str = "none",
    method: str = "auto",
    where: Tensor | None = None,
    offsets: Tensor | None = None,
    weights: Tensor | None = None,
    list_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Pairwise hinge: an item should outscore every lower-labelled one of its list by a margin.

    .. math::
        L = \frac 1C \sum_{(i, j):\, y_i > y_j} \max\left(0,\ m - (s_i - s_j)\right)^q

    over the pairs of each list, C of them in the batch (Joachims 2002; q = 2: Chapelle & Keerthi
    2010). No pair is materialised: memory is O(items). Long lists take sorted sweeps, l items in
    O(l log l) for two labels and O(l log l log k) for k; short lists a loop over their pairs.

    Args:
        scores: (b, l), or (l,) for one list, or (t,) with `offsets`; float32, float64, bfloat16 or
            float16.
        labels: shape of scores, real numbers, not negative; the larger the more relevant.
        margin: m ≥ 0.
        power: q, 1 (hinge) or 2 (squared hinge).
        pair_weight: "none" or "label_diff", which multiplies a pair's loss by y_i − y_j and leaves
            the divisor of the mean as it is.
        method: "pairs" (the loop), "sorted" (the sweeps) or "auto", by the length of a list. All
            agree to rounding.
        where: bool, shape of scores: which places hold an item. Others, at the end or between, are
            never read: they may hold NaN.
        offsets: (b + 1,) int64, ascending from 0 to t: list k is scores[offsets[k]:offsets[k+1]].
            Instead of `where`.
        weights: shape of scores, not negative; a pair weighs, and counts, what its higher-labelled
            item does. Without gradient.
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
        gradients. A NaN in a score or label that is kept makes its list NaN. A pair at the margin
        exactly has loss and gradient 0. The gradients of a list sum to 0. Scores are differences
        only: an offset common to a list costs no digit. Sums and gradients are float32 for 16-bit
        scores, and rounded once, after the upstream gradient was applied. Sums are deterministic:
        the same bits at the same thread count and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> scores = torch.tensor([[2.0, 1.0, 3.0], [1.0, 0.5, 1.5]])
        >>> labels = torch.tensor([[1, 0, 0], [0, 0, 1]])
        >>> fastloss.pairwise_hinge_loss(scores, labels).item()  # (0 + 2 + 0.5 + 0) / 4
        0.625

    References:
        Joachims 2002, "Optimizing Search Engines using Clickthrough Data", KDD; 2006, "Training
        Linear SVMs in Linear Time", KDD, for the sweep. Chapelle & Keerthi 2010, "Efficient
        algorithms for ranking with SVMs", Information Retrieval 13.
    """
    op = "pairwise_hinge_loss"
    _arguments.check_lists(op, scores, labels, where, offsets, weights, list_weights, reduction)
    margin = _checks.number(op, "margin", margin)
    if margin < 0:
        raise ValueError(f"{op}: margin must not be negative, got {margin}")
    if isinstance(power, bool) or not isinstance(power, int):
        raise TypeError(f"{op}: power must be an int, got {type(power).__name__}")
    if power not in (1, 2):
        raise ValueError(f"{op}: power must be 1 or 2, got {power}")
    _checks.choice(op, "pair_weight", pair_weight, _arguments.PAIR_WEIGHTS)
    _checks.choice(op, "method", method, _arguments.METHODS)
    return _listwise.apply(
        op, (scores, labels, where, offsets, weights, list_weights),
        (margin, power, pair_weight == "label_diff", method), reduction,
    )  # fmt: skip
