"""The loss of FaceNet's semi-hard triplets."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _pairwise
from ._labelled import checked

_OPERATOR = _pairwise.Operator("semi_hard_triplet_loss", differentiable=(0, 2))


def semi_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    similarity: str = "euclidean",
    reduction: str = "mean",
) -> Tensor:
    r"""Triplet loss of every positive pair with one negative that is just farther.

    .. math::
        L_a = \sum_{p:\, y_p = y_a,\, p \ne a} \max(0,\ d_{ap} - d_{a\,n(p)} + m)

    with n(p) the nearest negative of the anchor that is farther than p or, if there is none, the
    farthest of all its negatives (Schroff et al. 2015). A list of triplets and the n × n distances
    are never stored: rows of distances are formed a chunk at a time, and one search among the
    positives of a row finds all its n(p). Temporaries stay within
    :func:`fastloss.workspace_limit` (but for sixteen rows of distances), beside gradient
    accumulators of the size of the inputs and O(n) numbers.

    Args:
        embeddings: (n, d) anchors, float32, float64, bfloat16 or float16.
        labels: (n,) int64, any values.
        ref_embeddings: (m, d) in place of the batch as positives and negatives; all of them count,
            equal rows too. Dtype and device of embeddings. None: the batch itself, without the
            anchor.
        ref_labels: (m,) int64, with ref_embeddings.
        margin: m ≥ 0.
        similarity: "euclidean" (distance), "sqeuclidean" (its square), "cosine" (1 − cos; a
            zero row has similarity 0 and gradient 0) or "dot" (distance −⟨x, y⟩).
        reduction: "mean" (over the positive pairs of anchors that have a negative), "sum" or "none"
            (the sum of each anchor).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, one of ref_embeddings and ref_labels alone. The
            message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        The choice of a negative is a constant in differentiation; of equally near ones it is that
        of the lowest index. Without a triplet — one class, classes of one, no row — the loss is 0
        with zero gradients. A NaN in a row that is in a triplet gives NaN. Equal rows have distance
        and gradient exactly 0, also far from the origin. Without gradients one matrix product is
        done, with gradients three; "none" takes four. Distances and gradients are float32 for
        16-bit operands; gradients are rounded once, after the upstream gradient was applied. Sums
        are deterministic: the same bits at the same thread count, workspace limit and processor.
        Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> embeddings = torch.tensor([[0.0], [2.0], [1.0], [2.5]])
        >>> labels = torch.tensor([7, 7, 8, 9])
        >>> # anchor 0: (2 − 2.5 + 1)₊; anchor 1: none is farther than 2, (2 − 1 + 1)₊
        >>> fastloss.semi_hard_triplet_loss(embeddings, labels).item()
        1.25

    References:
        Schroff, Kalenichenko & Philbin 2015, "FaceNet: A Unified Embedding for Face Recognition and
        Clustering", arXiv:1503.03832.
    """
    op = "semi_hard_triplet_loss"
    tensors = checked(op, embeddings, labels, ref_embeddings, ref_labels, similarity)
    margin = _checks.not_negative(op, "margin", margin)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    return _pairwise.apply(_OPERATOR, tensors, (similarity, margin), reduction)
