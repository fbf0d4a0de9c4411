"""Modules of the retrieval losses."""

from __future__ import annotations

from torch import Tensor

from ..ranking.bpr_loss import bpr_loss
from ..ranking.hinge_loss import hinge_loss
from ..ranking.pairwise_margin_loss import pairwise_margin_loss
from ..ranking.sampled_softmax_loss import sampled_softmax_loss
from ._module import LossModule, TemperatureModule

__all__ = ["BPRLoss", "HingeLoss", "PairwiseMarginLoss", "SampledSoftmaxLoss"]


class BPRLoss(LossModule):
    """:func:`fastloss.bpr_loss` as a module.

    Args:
        reduction: as in the function.

    Shapes:
        ``forward(positive, negative, *, positive_where, negative_where, weights)`` takes the
        tensors of the function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.BPRLoss()
        >>> round(loss(torch.tensor([2.0]), torch.tensor([[2.0, 1.0]])).item(), 4)
        0.5032
    """

    def __init__(
        self,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(
        self,
        positive: Tensor,
        negative: Tensor,
        *,
        positive_where: Tensor | None = None,
        negative_where: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.bpr_loss`."""
        return bpr_loss(
            positive,
            negative,
            positive_where=positive_where,
            negative_where=negative_where,
            weights=weights,
            **self._options(),
        )


class HingeLoss(LossModule):
    """:func:`fastloss.hinge_loss` as a module.

    Args:
        reduction: as in the function.

    Shapes:
        ``forward(scores, labels, *, weights)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.HingeLoss()
        >>> loss(torch.tensor([0.5, -2.0]), torch.tensor([1, -1])).item()
        0.25
    """

    def __init__(
        self,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        *,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.hinge_loss`."""
        return hinge_loss(
            scores,
            labels,
            weights=weights,
            **self._options(),
        )


class PairwiseMarginLoss(LossModule):
    """:func:`fastloss.pairwise_margin_loss` as a module.

    Args:
        margin, reduction: as in the function.

    Shapes:
        ``forward(positive, negative, *, positive_where, negative_where, weights)`` takes the
        tensors of the function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.PairwiseMarginLoss(margin=0.5)
        >>> loss(torch.tensor([2.0]), torch.tensor([[2.0, 1.0]])).item()
        0.25
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.reduction = reduction

    def forward(
        self,
        positive: Tensor,
        negative: Tensor,
        *,
        positive_where: Tensor | None = None,
        negative_where: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.pairwise_margin_loss`."""
        return pairwise_margin_loss(
            positive,
            negative,
            positive_where=positive_where,
            negative_where=negative_where,
            weights=weights,
            **self._options(),
        )


class SampledSoftmaxLoss(TemperatureModule):
    """:func:`fastloss.sampled_softmax_loss` as a module.

    Args:
        temperature: τ > 0; with ``learnable`` its initial value.
        learnable: make τ a parameter. It is stored as ``log_temperature``, so that it stays
            positive.
        reduction: as in the function.

    Shapes:
        ``forward(positive, negative, *, positive_log_q, negative_log_q, negative_where, weights)``
        takes the tensors of the function.

    Raises:
        TypeError, ValueError: temperature is not a positive finite number.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.SampledSoftmaxLoss(temperature=0.2)
        >>> f"{loss(torch.tensor([1.0]), torch.tensor([[-1.0, -1.0, -1.0]])).item():.3g}"
        '0.000136'
    """

    def __init__(
        self, temperature: float = 1.0, learnable: bool = False, *, reduction: str = "mean"
    ) -> None:
        super().__init__(temperature, learnable)
        self.reduction = reduction

    def forward(
        self,
        positive: Tensor,
        negative: Tensor,
        *,
        positive_log_q: Tensor | None = None,
        negative_log_q: Tensor | None = None,
        negative_where: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.sampled_softmax_loss`."""
        return sampled_softmax_loss(
            positive,
            negative,
            temperature=self.temperature,
            positive_log_q=positive_log_q,
            negative_log_q=negative_log_q,
            negative_where=negative_where,
            weights=weights,
            **self._options(),
        )
