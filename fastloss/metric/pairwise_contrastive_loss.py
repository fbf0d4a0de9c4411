"""Contrastive loss of all pairs: rows of one label near, all others beyond a margin."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from .. import _checks, _pairwise
from ._labelled import checked
from .contrastive_loss import DISTANCES, NEGATIVE_TERMS

_OPERATOR = _pairwise.Operator("pairwise_contrastive_loss", differentiable=(0, 2))

_has_warned = False


def pairwise_contrastive_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    negative_term: str = "margin_minus_d_sq",
    scale: float = 0.5,
    similarity: str = "euclidean",
    reduction: str = "mean",
) -> Tensor:
    r"""Contrastive loss of all pairs of n labelled rows.

    .. math::
        L_i = c \sum_{j > i} \begin{cases} d_{ij}^2 & y_i = y_j \\
              \max(0, m - d_{ij})^2 & y_i \ne y_j \end{cases}, \qquad d_{ij} = d(x_i, x_j)

    (Hadsell, Chopra, LeCun 2006, c = ½, of every pair of the batch once.) With references the pairs
    are those of a row and a reference, all of them, and the rows are compared with each other no
    more. A distance of two rows is computed once; the matrix is never stored beyond
    :func:`fastloss.workspace_limit`: temporaries stay within it, beside gradient accumulators of
    the size of the inputs and O(n + k) numbers.

    Args:
        embeddings: (n, d), float32, float64, bfloat16 or float16.
        labels: (n,) int64, any values.
        ref_embeddings: (k, d), dtype and device of embeddings: the other row of every pair.
        ref_labels: (k,) int64, given with ref_embeddings.
        margin: m ≥ 0.
        negative_term: of rows of different labels "margin_minus_d_sq", max(0, m − d)², or
            "margin_sq_minus_d_sq", max(0, m² − d²); "linear" has d for d² and max(0, m − d).
            "as_published" is a misprint in circulation, max(0, d² − m²) of equal labels and d² of
            different ones: both attract, training with it collapses all embeddings, and its first
            use warns.
        scale: c > 0. 1 is the other form in use.
        similarity: what d is: "euclidean" (‖x − y‖), "sqeuclidean" (‖x − y‖²) or "cosine" (1 −
            cosine; a zero row has cosine 0 and gradient 0). "dot" has no least value.
        reduction: "mean" over pairs, "sum" or "none" (the sum of the pairs that row i makes with
            later rows, or with the references).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, one of ref_embeddings and ref_labels without the
            other. The message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.

    Notes:
        Without a pair the loss is 0 with zero gradients. A NaN in a row gives NaN. Gradients are 0
        where a term begins and at distance 0. Small distances come from the differences themselves,
        all others are taken around the mean row: embeddings with a common offset lose nothing. With
        G the product of all rows with each other, half a G is done without gradients, 1½ with;
        "none" takes 2. Against references a score is one product, each gradient another, and "none"
        takes the scores twice. Distances, sums and gradients are float32 for 16-bit operands, which
        are multiplied unrounded; gradients are rounded once, after the upstream gradient was
        applied. Sums are deterministic: the same bits at the same thread count, workspace limit and
        processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> embeddings = torch.tensor([[0.0], [2.0], [2.5]])
        >>> labels = torch.tensor([4, 4, 9])
        >>> # ½ · 2² + 0 of row 0, ½ (1 − ½)² of row 1
        >>> fastloss.pairwise_contrastive_loss(embeddings, labels, reduction="none")
        tensor([2.0000, 0.1250, 0.0000])

    References:
        Hadsell, Chopra, LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping".
    """
    op = "pairwise_contrastive_loss"
    _checks.choice(op, "similarity", similarity, DISTANCES)
    tensors = checked(op, embeddings, labels, ref_embeddings, ref_labels, similarity)
    margin = _checks.not_negative(op, "margin", margin)
    _checks.choice(op, "negative_term", negative_term, NEGATIVE_TERMS)
    scale = _checks.positive(op, "scale", scale)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    if negative_term == "as_published":
        _warn_once()
    options = (margin, scale, negative_term, similarity)
    return _pairwise.apply(_OPERATOR, tensors, options, reduction)


def _warn_once() -> None:
    global _has_warned
    if _has_warned or torch.compiler.is_compiling():
        return
    _has_warned = True
    warnings.warn(
        'pairwise_contrastive_loss: negative_term="as_published" attracts rows of equal and of '
        'different labels alike and collapses the embeddings; "margin_minus_d_sq" is Hadsell, '
        "Chopra & LeCun's loss",
        stacklevel=3,
    )
