"""Modules of the losses of metric learning."""

from __future__ import annotations

from torch import Tensor

from ..metric.batch_all_triplet_loss import batch_all_triplet_loss
from ..metric.batch_hard_triplet_loss import batch_hard_triplet_loss
from ..metric.contrastive_loss import contrastive_loss
from ..metric.labelled_triplet_loss import labelled_triplet_loss
from ..metric.pairwise_contrastive_loss import pairwise_contrastive_loss
from ..metric.semi_hard_triplet_loss import semi_hard_triplet_loss
from ..metric.triplet_margin_loss import triplet_margin_loss
from ._module import LossModule

__all__ = [
    "BatchAllTripletLoss",
    "BatchHardTripletLoss",
    "ContrastiveLoss",
    "LabelledTripletLoss",
    "PairwiseContrastiveLoss",
    "SemiHardTripletLoss",
    "TripletMarginLoss",
]


class BatchAllTripletLoss(LossModule):
    """:func:`fastloss.batch_all_triplet_loss` as a module.

    Args:
        margin, similarity, hinge, average, reduction: as in the function.

    Shapes:
        ``forward(embeddings, labels, *, ref_embeddings, ref_labels)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.BatchAllTripletLoss(margin=3.0, average="valid")
        >>> loss(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([7, 7, 8])).item()
        1.5
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        similarity: str = "euclidean",
        hinge: str = "relu",
        average: str = "active",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.similarity = similarity
        self.hinge = hinge
        self.average = average
        self.reduction = reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        ref_embeddings: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.batch_all_triplet_loss`."""
        return batch_all_triplet_loss(
            embeddings,
            labels,
            ref_embeddings=ref_embeddings,
            ref_labels=ref_labels,
            **self._options(),
        )


class BatchHardTripletLoss(LossModule):
    """:func:`fastloss.batch_hard_triplet_loss` as a module.

    Args:
        margin, similarity, hinge, anchors, reduction: as in the function.

    Shapes:
        ``forward(embeddings, labels, *, ref_embeddings, ref_labels)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.BatchHardTripletLoss(margin=2.0)
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0]])
        >>> loss(embeddings, torch.tensor([0, 0, 1])).item()  # anchor 1: 1 − 2 + 2
        0.5
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        similarity: str = "euclidean",
        hinge: str = "relu",
        anchors: str = "valid",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.similarity = similarity
        self.hinge = hinge
        self.anchors = anchors
        self.reduction = reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        ref_embeddings: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.batch_hard_triplet_loss`."""
        return batch_hard_triplet_loss(
            embeddings,
            labels,
            ref_embeddings=ref_embeddings,
            ref_labels=ref_labels,
            **self._options(),
        )


class ContrastiveLoss(LossModule):
    """:func:`fastloss.contrastive_loss` as a module.

    Args:
        margin, similar_label, negative_term, scale, similarity, reduction: as in the function.

    Shapes:
        ``forward(x1, x2, label)`` takes the tensors of the function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.ContrastiveLoss(margin=2.0, scale=1.0)
        >>> loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.5]]), torch.tensor([0])).item()
        0.25
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        similar_label: int = 1,
        negative_term: str = "margin_minus_d_sq",
        scale: float = 0.5,
        similarity: str = "euclidean",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.similar_label = similar_label
        self.negative_term = negative_term
        self.scale = scale
        self.similarity = similarity
        self.reduction = reduction

    def forward(self, x1: Tensor, x2: Tensor, label: Tensor) -> Tensor:
        """Return the loss; see :func:`fastloss.contrastive_loss`."""
        return contrastive_loss(x1, x2, label, **self._options())


class LabelledTripletLoss(LossModule):
    """:func:`fastloss.labelled_triplet_loss` as a module.

    Args:
        margin, hinge, reduction: as in the function.

    Shapes:
        ``forward(anchor, positive, negative, label)`` takes the tensors of the function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.LabelledTripletLoss(margin=0.5)
        >>> anchor, positive, negative = torch.tensor([[[0.0]], [[3.0]], [[1.0]]])
        >>> loss(anchor, positive, negative, torch.tensor([1])).item()  # 2·9 − 4 − 1 + ½
        13.5
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        hinge: str = "relu",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.hinge = hinge
        self.reduction = reduction

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor, label: Tensor) -> Tensor:
        """Return the loss; see :func:`fastloss.labelled_triplet_loss`."""
        return labelled_triplet_loss(anchor, positive, negative, label, **self._options())


class PairwiseContrastiveLoss(LossModule):
    """:func:`fastloss.pairwise_contrastive_loss` as a module.

    Args:
        margin, negative_term, scale, similarity, reduction: as in the function.

    Shapes:
        ``forward(embeddings, labels, *, ref_embeddings, ref_labels)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.PairwiseContrastiveLoss(margin=2.0, scale=1.0, reduction="sum")
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0]])
        >>> loss(embeddings, torch.tensor([0, 1, 0])).item()  # (2 − 1)² + 3² + 0
        10.0
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        negative_term: str = "margin_minus_d_sq",
        scale: float = 0.5,
        similarity: str = "euclidean",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.negative_term = negative_term
        self.scale = scale
        self.similarity = similarity
        self.reduction = reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        ref_embeddings: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.pairwise_contrastive_loss`."""
        return pairwise_contrastive_loss(
            embeddings,
            labels,
            ref_embeddings=ref_embeddings,
            ref_labels=ref_labels,
            **self._options(),
        )


class SemiHardTripletLoss(LossModule):
    """:func:`fastloss.semi_hard_triplet_loss` as a module.

    Args:
        margin, similarity, reduction: as in the function.

    Shapes:
        ``forward(embeddings, labels, *, ref_embeddings, ref_labels)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.SemiHardTripletLoss(margin=0.5)
        >>> round(loss(torch.tensor([[0.0], [1.0], [2.25]]), torch.tensor([7, 7, 8])).item(), 4)
        0.125
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        similarity: str = "euclidean",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.similarity = similarity
        self.reduction = reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        ref_embeddings: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.semi_hard_triplet_loss`."""
        return semi_hard_triplet_loss(
            embeddings,
            labels,
            ref_embeddings=ref_embeddings,
            ref_labels=ref_labels,
            **self._options(),
        )


class TripletMarginLoss(LossModule):
    """:func:`fastloss.triplet_margin_loss` as a module.

    Args:
        margin, similarity, p, eps, swap, hinge, reduction: as in the function.

    Shapes:
        ``forward(anchor, positive, negative, *, weights)`` takes the tensors of the function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.TripletMarginLoss(margin=0.5)
        >>> anchor, positive, negative = torch.tensor([[[0.0]], [[1.0]], [[1.25]]])
        >>> loss(anchor, positive, negative).item()
        0.25
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        similarity: str = "euclidean",
        p: float = 2.0,
        eps: float = 0.0,
        swap: bool = False,
        hinge: str = "relu",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.similarity = similarity
        self.p = p
        self.eps = eps
        self.swap = swap
        self.hinge = hinge
        self.reduction = reduction

    def forward(
        self,
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        *,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.triplet_margin_loss`."""
        return triplet_margin_loss(anchor, positive, negative, weights=weights, **self._options())
