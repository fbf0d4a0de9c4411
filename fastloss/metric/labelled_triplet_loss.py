"""Labelled triplet loss: a label tells which of two rows belongs to the anchor."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _rowwise

HINGES = ("relu", "softplus", "none")


def labelled_triplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    label: Tensor,
    *,
    margin: float = 1.0,
    hinge: str = "relu",
    reduction: str = "mean",
) -> Tensor:
    r"""Triplet loss of three distances whose label may exchange positive and negative.

    .. math::
        L_i = \mathrm{hinge}\left(2 \lVert p_i - a_i \rVert^2 - \lVert p_i - n_i \rVert^2
              - \lVert a_i - n_i \rVert^2 + m\right)
            = \mathrm{hinge}\left(\tfrac32 \lVert a_i - p_i \rVert^2
              - \tfrac12 \lVert (n_i - a_i) + (n_i - p_i) \rVert^2 + m\right)

    where label is 1; where it is 0, p and n are exchanged. The negative is pushed from both others.

    Differences and distances are never stored: beside the gradients that are returned stands one
    number a triplet.

    Args:
        anchor: (n, d), float32, float64, bfloat16 or float16.
        positive: (n, d), dtype and device of anchor.
        negative: (n, d), dtype and device of anchor.
        label: (n,) numbers or booleans, each 0 or 1.
        margin: m ≥ 0.
        hinge: "relu" (max(0, x)), "softplus" (log(1 + eˣ)) or "none" (x), which is the form in
            circulation: it has no least value, and its margin no gradient.
        reduction: "mean" over triplets, "sum" or "none".

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; a label other than 0 and 1; labels that require
            grad. The message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Without triplets the loss is 0 with zero gradients. A NaN in a row gives NaN. The gradient
        is 0 where the hinge begins. Lengths come from the differences themselves, so that
        embeddings with a common offset lose nothing, and their sums are in double; gradients are
        rounded once, after the upstream gradient was applied. Results are deterministic. Second
        derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> anchor, positive, negative = torch.tensor([[[0.0]], [[1.0]], [[3.0]]])
        >>> for label in (1, 0):  # 2·1 − 4 − 9 + 1 < 0, and 2·9 − 4 − 1 + 1
        ...     fastloss.labelled_triplet_loss(anchor, positive, negative, torch.tensor([label]))
        tensor(0.)
        tensor(14.)

    References:
        Schroff, Kalenichenko, Philbin 2015, "FaceNet", arXiv:1503.03832, for triplets of squared
        distances; the law of the parallelogram for the second form.
    """
    op = "labelled_triplet_loss"
    n, _ = _rowwise.operands(op, anchor=anchor, positive=positive, negative=negative)
    _checks.beside(op, "label", label, anchor, (n,), of="anchor", integer=True)
    margin = _checks.not_negative(op, "margin", margin)
    _checks.choice(op, "hinge", hinge, HINGES)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    tensors = (anchor, positive, negative, label)
    return _rowwise.apply(op, 3, tensors, (margin, hinge), reduction)
