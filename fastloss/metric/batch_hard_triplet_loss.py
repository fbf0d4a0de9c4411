"""Batch-hard triplet loss: every anchor with its hardest positive and its hardest negative."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _checks, _ops
from .._autograd import first_derivative_only
from .._workspace import current_workspace_limit
from ._labelled import HINGES, checked

ANCHORS = ("valid", "all")


def batch_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    similarity: str = "euclidean",
    hinge: str = "relu",
    anchors: str = "valid",
    reduction: str = "mean",
) -> Tensor:
    r"""Triplet loss of every row with its farthest positive and its nearest negative.

    With the candidates :math:`A(i)` of row i, all rows but the row itself,

    .. math::
        L_i = \mathrm{hinge}\Big( \max_{p \in A(i),\, y_p = y_i} d(x_i, x_p)
              - \min_{n \in A(i),\, y_n \ne y_i} d(x_i, x_n) + m \Big)

    (Hermans, Beyer, Leibe 2017). With references they are the candidates instead, every one of
    them, and the rows are compared with each other no more. A distance of two rows serves both, so
    that only half of the matrix is computed; it is never stored beyond
    :func:`fastloss.workspace_limit`: temporaries stay within it, beside O(n + k) numbers. Two
    indices a row are kept for backward, which forms the gradients from the chosen rows alone.

    Args:
        embeddings: (n, d), float32, float64, bfloat16 or float16.
        labels: (n,) int64, any values.
        ref_embeddings: (k, d), dtype and device of embeddings: candidates of all rows, instead of
            the rows.
        ref_labels: (k,) int64, given with ref_embeddings.
        margin: m ≥ 0.
        similarity: what d is: "euclidean" (‖x − y‖), "sqeuclidean" (‖x − y‖²), "cosine" (1 −
            cosine; a zero row has cosine 0 and gradient 0) or "dot" (−⟨x, y⟩).
        hinge: "relu" (max(0, x)) or "softplus" (log(1 + eˣ); with margin 0 the soft margin of the
            paper).
        anchors: "valid", the rows that have a positive and a negative; or "all": a row without a
            positive has distance 0 to it, one without a negative has loss 0, and all n count.
        reduction: "mean" over the anchors, "sum" or "none".

    Returns:
        A 0-dim tensor, or (n,) for "none", 0 for a row that is no anchor; float32 for 16-bit
        operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, one of ref_embeddings and ref_labels without the
            other. The message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.

    Notes:
        Without an anchor the loss is 0 with zero gradients. Of rows at equal distance, as the
        scores have it, that of the lowest index is chosen. A NaN in a row gives NaN in the anchors
        that it is a candidate of. Gradients are 0 where the hinge begins and at distance 0. The
        choice is made by scores of matrix products, half a product of all rows with each other, or
        a whole one of the rows with the references; Euclidean scores are taken around the mean row,
        and from the differences themselves where they are small. The distances chosen, and all
        gradients, come from the rows, with sums in double; gradients are rounded once, after the
        upstream gradient was applied. Results are deterministic: the same bits at the same thread
        count, workspace limit and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [5.0]])
        >>> labels = torch.tensor([0, 0, 0, 1])
        >>> fastloss.batch_hard_triplet_loss(embeddings, labels, reduction="none")
        tensor([0., 0., 2., 0.])

    References:
        Hermans, Beyer, Leibe 2017, "In Defense of the Triplet Loss for Person Re-Identification",
        arXiv:1703.07737.
    """
    op = "batch_hard_triplet_loss"
    tensors = checked(op, embeddings, labels, ref_embeddings, ref_labels, similarity)
    margin = _checks.not_negative(op, "margin", margin)
    _checks.choice(op, "hinge", hinge, HINGES)
    _checks.choice(op, "anchors", anchors, ANCHORS)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    options = (margin, similarity, hinge, anchors, reduction)
    loss: Tensor = _BatchHard.apply(  # type: ignore[no-untyped-call]
        options, current_workspace_limit(), *tensors
    )
    return loss


class _BatchHard(torch.autograd.Function):
    """The choice is kept; backward reads the chosen rows again.

    The upstream gradient is applied in the accumulation type, before the one rounding to the
    embeddings' dtype.
    """

    @staticmethod
    def forward(ctx, options, workspace, embeddings, labels, ref_embeddings, ref_labels):  # type: ignore[no-untyped-def]
        loss, chosen = _ops.call(
            "batch_hard_triplet_loss_forward", embeddings, labels, ref_embeddings, ref_labels,
            *options, workspace,
        )  # fmt: skip
        ctx.options = options
        ctx.save_for_backward(chosen, embeddings, ref_embeddings)
        return loss

    @staticmethod
    @first_derivative_only
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        chosen, embeddings, ref_embeddings = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[2], ctx.needs_input_grad[4]]
        of_rows, of_references = _ops.call(
            "batch_hard_triplet_loss_backward", grad_loss, chosen, embeddings, ref_embeddings,
            *ctx.options, wanted,
        )  # fmt: skip
        gradients = (of_rows if wanted[0] else None, of_references if wanted[1] else None)
        return (None, None, gradients[0], None, gradients[1], None)
