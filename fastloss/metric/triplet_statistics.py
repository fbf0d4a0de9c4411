"""What the triplets of a batch are like."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import _checks, _ops
from .._workspace import current_workspace_limit
from ._labelled import checked


class TripletStatistics(NamedTuple):
    """Counts of triplets, 0-dim int64, and mean distances of pairs, 0-dim floating.

    active: those with a loss, d_an < d_ap + m. valid: all. hard: d_an ≤ d_ap. semi_hard:
    d_ap < d_an < d_ap + m. mean_positive_distance, mean_negative_distance: over all ordered pairs
    of equal and of different labels, 0 without one.
    """

    active: Tensor
    valid: Tensor
    hard: Tensor
    semi_hard: Tensor
    mean_positive_distance: Tensor
    mean_negative_distance: Tensor


def triplet_statistics(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    margin: float = 1.0,
    similarity: str = "euclidean",
) -> TripletStatistics:
    """Count the triplets of a batch by kind: how much is left to learn from it.

    A list of triplets and the n × n distances are never stored; time O(n² log n), memory as
    of :func:`fastloss.batch_all_triplet_loss`, which explains the triplets. No gradient.

    Args:
        embeddings: (n, d) anchors, float32, float64, bfloat16 or float16.
        labels: (n,) int64, any values.
        ref_embeddings: (m, d) in place of the batch as positives and negatives; all of them count,
            equal rows too. Dtype and device of embeddings. None: the batch itself, without the
            anchor.
        ref_labels: (m,) int64, with ref_embeddings.
        margin: m ≥ 0.
        similarity: "euclidean" (distance), "sqeuclidean" (its square), "cosine" (distance 1 − cos)
            or "dot" (distance −⟨x, y⟩).

    Returns:
        ``TripletStatistics(active, valid, hard, semi_hard, mean_positive_distance,
        mean_negative_distance)``: counts are int64, means float32 for 16-bit operands, else of
        their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, one of ref_embeddings and ref_labels alone. The
            message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Counts are exact, beyond 2³¹ too. A NaN in a row makes the means NaN; of the counts only
        valid then means anything.

    Example:
        >>> import torch, fastloss
        >>> embeddings = torch.tensor([[0.0], [1.0], [1.5], [4.0]])
        >>> labels = torch.tensor([7, 7, 8, 8])
        >>> statistics = fastloss.triplet_statistics(embeddings, labels)
        >>> [count.item() for count in statistics[:4]]  # active, valid, hard, semi_hard
        [5, 8, 3, 2]
        >>> statistics.mean_positive_distance.item(), statistics.mean_negative_distance.item()
        (1.75, 2.25)

    References:
        Schroff, Kalenichenko & Philbin 2015, "FaceNet: A Unified Embedding for Face Recognition and
        Clustering", arXiv:1503.03832.
    """
    op = "triplet_statistics"
    embeddings, *others = checked(op, embeddings, labels, ref_embeddings, ref_labels, similarity)
    margin = _checks.not_negative(op, "margin", margin)
    with torch.no_grad():
        counts, means = _ops.call(
            op, embeddings, *others, similarity, margin, current_workspace_limit()
        )
    return TripletStatistics(*counts.unbind(), *means.unbind())
