"""The pairwise hinge loss by its definition."""

from __future__ import annotations

from torch import Tensor

from .lists import as_lists, pairs_of, reduce_lists, score_gaps, sum_of_pairs


def pairwise_hinge_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    margin: float = 1.0,
    power: int = 1,
    pair_weight: str = "none",
    method: str = "auto",
    where: Tensor | None = None,
    offsets: Tensor | None = None,
    weights: Tensor | None = None,
    list_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.pairwise_hinge_loss`, see there.

    Stores all l² pairs of every list; `method` makes no difference here. Gradients come from
    autograd and may be differentiated again.
    """
    lists = as_lists(scores, labels, where, offsets, weights)
    higher, label_difference, _ = pairs_of(lists)
    counts = higher * lists.weights[:, :, None]  # a pair weighs what its higher-labelled item does
    losses = (margin - score_gaps(lists, higher)).relu().pow(power)
    pair_weights = counts * label_difference if pair_weight == "label_diff" else counts
    values = sum_of_pairs(lists, losses, pair_weights)
    return reduce_lists(values, counts.sum((1, 2)), list_weights, reduction)
