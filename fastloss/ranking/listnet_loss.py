"""ListNet: cross-entropy of the top item of a list."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _listwise
from . import _arguments

TARGETS = ("softmax", "normalize", "raw", "gain")


def listnet_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    target: str = "softmax",
    label_temperature: float = 1.0,
    gain: str = "exp2",
    where: Tensor | None = None,
    offsets: Tensor | None = None,
    list_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""ListNet: the softmax of a list's scores should be that of its labels.

    .. math::
        L_b = -\sum_i P_i \log \frac{e^{s_i}}{\sum_j e^{s_j}}
            = \Big(\sum_i P_i\Big) \log \sum_j e^{s_j} - \sum_i P_i s_i

    the top-one form (Cao et al. 2007), averaged over lists. One pass over each list: its softmax
    is never stored, beside the gradient itself.

    Args:
        scores: (b, l), or (l,) for one list, or (t,) with `offsets`; float32, float64, bfloat16 or
            float16.
        labels: shape of scores, real numbers, not negative; the larger the more relevant.
        target: P. "softmax" (of labels / label_temperature), "normalize" (y / Σ y), "raw" (y) or
            "gain" (the gains of y, not normalised).
        label_temperature: > 0; only "softmax" reads it.
        gain: "exp2" (2^y − 1) or "linear" (y); only target "gain" reads it.
        where: bool, shape of scores: which places hold an item. Others, at the end or between, are
            never read: they may hold NaN.
        offsets: (b + 1,) int64, ascending from 0 to t: list k is scores[offsets[k]:offsets[k+1]].
            Instead of `where`.
        list_weights: (b,), not negative, one weight a list; without gradient.
        reduction: "mean" (Σ w_b L_b / Σ w_b over the lists that have an item), "sum", "none"
            (w_b L_b) or "mean_list" (the same as "mean").

    Returns:
        A 0-dim tensor, or (b,) for "none"; float32 for 16-bit scores, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, negative labels or weights, offsets that do not
            ascend from 0 to t, both `where` and `offsets`; labels or weights that require grad. The
            message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        A list whose P are all 0 gives 0 and counts in the mean; a list without an item gives 0 and
        does not. When nothing is left the loss is 0 with zero gradients. A NaN in a score or label
        that is kept makes its list NaN. The gradient is (Σ P) softmax(s) − P, which sums to 0 over
        a list. An item with P = 0 may have the score −∞. Sums and gradients are float32 for 16-bit
        scores, and rounded once, after the upstream gradient was applied. Sums are deterministic:
        the same bits at the same thread count and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> scores = torch.tensor([[2.0, 1.0, 3.0], [1.0, 0.5, 1.5]])
        >>> labels = torch.tensor([[1, 0, 0], [0, 0, 1]])
        >>> round(fastloss.listnet_loss(scores, labels).item(), 4)
        1.2029
        >>> round(fastloss.listnet_loss(scores, labels, target="raw").item(), 4)
        1.0439

    References:
        Cao et al. 2007, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML.
    """
    op = "listnet_loss"
    _arguments.check_lists(op, scores, labels, where, offsets, None, list_weights, reduction)
    _checks.choice(op, "target", target, TARGETS)
    temperature = _checks.positive(op, "label_temperature", label_temperature)
    _checks.choice(op, "gain", gain, _arguments.GAINS)
    return _listwise.apply(
        op, (scores, labels, where, offsets, None, list_weights),
        (target, temperature, gain), reduction,
    )  # fmt: skip
