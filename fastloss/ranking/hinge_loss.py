"""Hinge loss of single scores."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _pointwise


def hinge_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Hinge loss of scores with labels −1 and +1.

    .. math::
        L = \max(0,\ 1 - y\, s), \qquad y \in \{-1, +1\}

    The loss of a linear support vector machine. The margins are never stored: the scores are read
    once in each pass, and beside them stand the returned gradient and, where labels are stored in
    another type, a copy of those.

    Args:
        scores: s, any shape; float32, float64, bfloat16 or float16.
        labels: y, in the shape of scores, each −1 or +1; floating or integer, without gradient.
        weights: in the shape of scores, not negative, one weight an item; without gradient.
        reduction: "mean" (Σ w L / Σ w over the items), "sum" or "none" (w L).

    Returns:
        A 0-dim tensor, or one of scores' shape for "none"; float32 for 16-bit scores, else their
        dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape or device; a label other than −1 and +1 (labels 0 and 1 are mapped
            by ``2 * labels - 1``); negative weights; labels or weights that require grad. The
            message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        The gradient at the kink, y s = 1, is 0. Without an item, or with weights that sum to 0, the
        mean is 0. An item of weight 0 takes no part. A NaN gives NaN. Sums and gradients are
        float32 for 16-bit scores, and gradients are rounded once, after the upstream gradient was
        applied. Results are deterministic. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> scores, labels = torch.tensor([0.5, -2.0, 0.5]), torch.tensor([1, -1, -1])
        >>> round(fastloss.hinge_loss(scores, labels).item(), 4)  # (0.5 + 0 + 1.5) / 3
        0.6667

    References:
        Cortes & Vapnik 1995, "Support-Vector Networks".
    """
    op = "hinge_loss"
    _checks.floating(op, "scores", scores)
    shape = (*scores.shape,)
    _checks.beside(op, "labels", labels, scores, shape, of="scores", why=" as scores", integer=True)
    if weights is not None:
        _checks.beside(op, "weights", weights, scores, shape, of="scores", why=" as scores")
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    return _pointwise.apply(op, (scores, labels, weights), (), reduction)
