"""Margin loss of positives against negatives by its definition."""

from __future__ import annotations

from torch import Tensor

from ._pairs import reduce_pairs


def pairwise_margin_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    positive_where: Tensor | None = None,
    negative_where: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.pairwise_margin_loss`, see there.

    Stores every difference. Gradients come from autograd and may be differentiated again.
    """
    return reduce_pairs(
        lambda gaps: (margin + gaps).relu(),
        positive, negative, positive_where, negative_where, weights, reduction,
    )  # fmt: skip
