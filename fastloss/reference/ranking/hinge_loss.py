"""Hinge loss of single scores by its definition."""

from __future__ import annotations

from torch import Tensor

from ..reduction import reduce_elements, without_unweighted


def hinge_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.hinge_loss`, see there.

    Stores the margins. Gradients come from autograd and may be differentiated again.
    """
    scores = without_unweighted(scores, weights, 0.0)
    loss = (1 - labels.to(scores.dtype) * scores).relu()
    return reduce_elements(loss, weights, reduction, divide_by_weights=True)
