"""Contrastive loss of labelled pairs: similar rows near, the others beyond a margin."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from .. import _checks, _rowwise

NEGATIVE_TERMS = ("margin_minus_d_sq", "margin_sq_minus_d_sq", "linear", "as_published")
DISTANCES = ("cosine", "euclidean", "sqeuclidean")

_has_warned = False


def contrastive_loss(
    x1: Tensor,
    x2: Tensor,
    label: Tensor,
    *,
    margin: float = 1.0,
    similar_label: int = 1,
    negative_term: str = "margin_minus_d_sq",
    scale: float = 0.5,
    similarity: str = "euclidean",
    reduction: str = "mean",
) -> Tensor:
    r"""Contrastive loss of pairs that are labelled similar or dissimilar.

    .. math::
        L_i = c \left(s_i\, d_i^2 + (1 - s_i) \max(0, m - d_i)^2\right), \qquad
        d_i = d(x^1_i, x^2_i)

    with s = 1 where label is ``similar_label``, else 0 (Hadsell, Chopra, LeCun 2006, c = ½).

    Differences and distances are never stored: beside the gradients that are returned stands one
    number a pair.

    Args:
        x1: (n, d), float32, float64, bfloat16 or float16.
        x2: (n, d), dtype and device of x1.
        label: (n,) numbers or booleans, each 0 or 1.
        margin: m ≥ 0.
        similar_label: 1 or 0, the label of a similar pair.
        negative_term: of dissimilar pairs "margin_minus_d_sq", max(0, m − d)², or
            "margin_sq_minus_d_sq", max(0, m² − d²); "linear" has d for d² and max(0, m − d).
            "as_published" is a misprint in circulation, s max(0, d² − m²) + (1 − s) d², in which
            both terms attract: training with it collapses all embeddings, and its first use warns.
        scale: c > 0. 1 is the other form in use.
        similarity: what d is: "euclidean" (‖x − y‖), "sqeuclidean" (‖x − y‖²) or "cosine" (1 −
            cosine; a zero row has cosine 0 and gradient 0). "dot" has no least value.
        reduction: "mean" over pairs, "sum" or "none".

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; a label other than 0 and 1; labels that require
            grad. The message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Without pairs the loss is 0 with zero gradients. A NaN in a row gives NaN. Gradients are 0
        where a term begins and at distance 0. Distances come from the differences themselves, so
        that embeddings with a common offset lose nothing, and their sums are in double; gradients
        are rounded once, after the upstream gradient was applied. Results are deterministic. Second
        derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> x1 = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
        >>> x2 = torch.tensor([[3.0, 4.0], [0.0, 0.5]])
        >>> label = torch.tensor([1, 0])
        >>> fastloss.contrastive_loss(x1, x2, label, reduction="none")  # ½ · 5², ½ · (1 − ½)²
        tensor([12.5000,  0.1250])

    References:
        Hadsell, Chopra, LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping".
    """
    op = "contrastive_loss"
    n, _ = _rowwise.operands(op, x1=x1, x2=x2)
    _checks.beside(op, "label", label, x1, (n,), of="x1", integer=True)
    margin = _checks.not_negative(op, "margin", margin)
    similar = _checks.number(op, "similar_label", similar_label)
    if similar not in (0.0, 1.0):
        raise ValueError(f"{op}: similar_label must be 0 or 1, got {similar_label}")
    _checks.choice(op, "negative_term", negative_term, NEGATIVE_TERMS)
    scale = _checks.positive(op, "scale", scale)
    _checks.choice(op, "similarity", similarity, DISTANCES)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    if negative_term == "as_published":
        _warn_once()
    options = (margin, int(similar), negative_term, scale, similarity)
    return _rowwise.apply(op, 2, (x1, x2, label), options, reduction)


def _warn_once() -> None:
    global _has_warned
    if _has_warned or torch.compiler.is_compiling():
        return
    _has_warned = True
    warnings.warn(
        'contrastive_loss: negative_term="as_published" attracts similar and dissimilar rows alike '
        'and collapses the embeddings; "margin_minus_d_sq" is Hadsell, Chopra & LeCun\'s loss',
        stacklevel=3,
    )
