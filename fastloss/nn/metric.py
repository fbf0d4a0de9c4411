"""Modules of the losses of metric learning."""

from __future__ import annotations

from torch import Tensor

from ..metric.batch_all_triplet_loss import batch_all_triplet_loss
from ..metric.semi_hard_triplet_loss import semi_hard_triplet_loss
from ._module import LossModule

__all__ = ["BatchAllTripletLoss", "SemiHardTripletLoss"]


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
