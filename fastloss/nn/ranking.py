"""Modules of the ranking losses."""

from __future__ import annotations

from torch import Tensor

from ..ranking.listnet_loss import listnet_loss
from ..ranking.pairwise_hinge_loss import pairwise_hinge_loss
from ..ranking.ranknet_loss import ranknet_loss
from ._module import LossModule

__all__ = ["ListNetLoss", "PairwiseHingeLoss", "RankNetLoss"]


class ListNetLoss(LossModule):
    """:func:`fastloss.listnet_loss` as a module.

    Args:
        target, label_temperature, gain, reduction: as in the function.

    Shapes:
        ``forward(scores, labels, *, where, offsets, list_weights)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.ListNetLoss(target="raw")
        >>> round(loss(torch.zeros(2, 8), torch.eye(2, 8)).item(), 4)  # log 8
        2.0794
    """

    def __init__(
        self,
        *,
        target: str = "softmax",
        label_temperature: float = 1.0,
        gain: str = "exp2",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.target = target
        self.label_temperature = label_temperature
        self.gain = gain
        self.reduction = reduction

    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        *,
        where: Tensor | None = None,
        offsets: Tensor | None = None,
        list_weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.listnet_loss`."""
        return listnet_loss(
            scores,
            labels,
            where=where,
            offsets=offsets,
            list_weights=list_weights,
            **self._options(),
        )


class PairwiseHingeLoss(LossModule):
    """:func:`fastloss.pairwise_hinge_loss` as a module.

    Args:
        margin, power, pair_weight, method, reduction: as in the function.

    Shapes:
        ``forward(scores, labels, *, where, offsets, weights, list_weights)`` takes the tensors of
        the function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.PairwiseHingeLoss(margin=0.5)
        >>> loss(torch.tensor([[2.0, 1.0, 1.75]]), torch.tensor([[1, 0, 0]])).item()
        0.125
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        power: int = 1,
        pair_weight: str = "none",
        method: str = "auto",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin
        self.power = power
        self.pair_weight = pair_weight
        self.method = method
        self.reduction = reduction

    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        *,
        where: Tensor | None = None,
        offsets: Tensor | None = None,
        weights: Tensor | None = None,
        list_weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.pairwise_hinge_loss`."""
        return pairwise_hinge_loss(
            scores,
            labels,
            where=where,
            offsets=offsets,
            weights=weights,
            list_weights=list_weights,
            **self._options(),
        )


class RankNetLoss(LossModule):
    """:func:`fastloss.ranknet_loss` as a module.

    Args:
        sigma, ties, pair_weight, method, log_base, reduction: as in the function.

    Shapes:
        ``forward(scores, labels, *, where, offsets, weights, list_weights)`` takes the tensors of
        the function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.RankNetLoss(log_base=2)
        >>> loss(torch.zeros(4, 100), torch.arange(100).expand(4, 100)).item()  # undecided: 1 bit
        1.0
    """

    def __init__(
        self,
        *,
        sigma: float = 1.0,
        ties: str = "skip",
        pair_weight: str = "none",
        method: str = "auto",
        log_base: float | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.sigma = sigma
        self.ties = ties
        self.pair_weight = pair_weight
        self.method = method
        self.log_base = log_base
        self.reduction = reduction

    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        *,
        where: Tensor | None = None,
        offsets: Tensor | None = None,
        weights: Tensor | None = None,
        list_weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.ranknet_loss`."""
        return ranknet_loss(
            scores,
            labels,
            where=where,
            offsets=offsets,
            weights=weights,
            list_weights=list_weights,
            **self._options(),
        )
