"""The loss of all triplets of a batch."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _pairwise
from ._labelled import AVERAGES, HINGES, checked

_OPERATOR = _pairwise.Operator("batch_all_triplet_loss", differentiable=(0, 2))


def batch_all_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    similarity: str = "euclidean",
    hinge: str = "relu",
    average: str = "active",
    reduction: str = "mean",
) -> Tensor:
    r"""Triplet loss of every anchor with every positive and every negative of its label.

    .. math::
        L_a = \sum_{p:\, y_p = y_a,\, p \ne a} \; \sum_{n:\, y_n \ne y_a}
            \max(0,\ d_{ap} - d_{an} + m)

    (Hermans et al. 2017). A list of triplets and the n × n distances are never stored: rows
    of distances are formed a chunk at a time, and the number of negatives nearer than each
    threshold :math:`d_{ap} + m` is counted by a search among the thresholds of the anchor,
    O(n² log n) time for its O(n³) triplets. Temporaries stay within
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
        hinge: "relu", or "softplus": log(1 + e^v) of the gap v = d_ap − d_an + m in place of
            max(0, v).
        average: what a mean divides by: "active" triplets, those with a loss (the count is a
            constant in differentiation; all of a softplus), or all "valid" ones.
        reduction: "mean" (over triplets), "sum" or "none" (the sum of each anchor).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, one of ref_embeddings and ref_labels alone. The
            message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Without a triplet — one class, classes of one, no row — the loss is 0 with zero gradients,
        and so is that of an anchor without positive or negative. A NaN in a row that is in a
        triplet gives NaN. A triplet at its kink has loss and gradient 0; equal rows have distance
        and gradient exactly 0, also far from the origin. Counts are exact, beyond 2³¹ too; terms
        are summed in double. Without gradients one matrix product is done, with gradients three;
        "none" takes four. Distances and gradients are float32 for 16-bit operands; gradients are
        rounded once, after the upstream gradient was applied. Sums are deterministic: the same bits
        at the same thread count, workspace limit and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0]])
        >>> labels = torch.tensor([7, 7, 8])
        >>> # (1 − 3 + 3)₊ and (1 − 2 + 3)₊
        >>> fastloss.batch_all_triplet_loss(embeddings, labels, margin=3.0).item()
        1.5

    References:
        Hermans, Beyer & Leibe 2017, "In Defense of the Triplet Loss for Person Re-Identification",
        arXiv:1703.07737.
    """
    op = "batch_all_triplet_loss"
    tensors = checked(op, embeddings, labels, ref_embeddings, ref_labels, similarity)
    margin = _checks.not_negative(op, "margin", margin)
    softplus = _checks.choice(op, "hinge", hinge, HINGES) == "softplus"
    active = _checks.choice(op, "average", average, AVERAGES) == "active"
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    return _pairwise.apply(_OPERATOR, tensors, (similarity, margin, softplus, active), reduction)
