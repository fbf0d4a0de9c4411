"""Modules of the pointwise losses."""

from __future__ import annotations

from torch import Tensor

from ..pointwise.binary_cross_entropy import binary_cross_entropy
from ..pointwise.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits
from ..pointwise.cross_entropy import cross_entropy
from ..pointwise.kl_div_with_logits import kl_div_with_logits
from ._module import LossModule

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "KLDivWithLogitsLoss"]


class BCELoss(LossModule):
    """:func:`fastloss.binary_cross_entropy` as a module.

    Args:
        reduction: as in the function.

    Shapes:
        ``forward(input, target, *, weight)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.BCELoss()
        >>> round(loss(torch.tensor([0.5, 0.9]), torch.tensor([1.0, 0.0])).item(), 4)
        1.4979
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
        input: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.binary_cross_entropy`."""
        return binary_cross_entropy(
            input,
            target,
            weight=weight,
            **self._options(),
        )


class BCEWithLogitsLoss(LossModule):
    """:func:`fastloss.binary_cross_entropy_with_logits` as a module.

    Args:
        reduction: as in the function.

    Shapes:
        ``forward(input, target, *, weight, pos_weight)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.BCEWithLogitsLoss()
        >>> round(loss(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])).item(), 4)
        1.41
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
        input: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        pos_weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.binary_cross_entropy_with_logits`."""
        return binary_cross_entropy_with_logits(
            input,
            target,
            weight=weight,
            pos_weight=pos_weight,
            **self._options(),
        )


class CrossEntropyLoss(LossModule):
    """:func:`fastloss.cross_entropy` as a module.

    Args:
        ignore_index, label_smoothing, reduction: as in the function.

    Shapes:
        ``forward(input, target, *, weight)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.CrossEntropyLoss()
        >>> round(loss(torch.zeros(4, 1000), torch.arange(4)).item(), 4)  # log 1000
        6.9078
    """

    def __init__(
        self,
        *,
        ignore_index: int | None = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.reduction = reduction

    def forward(
        self,
        input: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.cross_entropy`."""
        return cross_entropy(
            input,
            target,
            weight=weight,
            **self._options(),
        )


class KLDivWithLogitsLoss(LossModule):
    """:func:`fastloss.kl_div_with_logits` as a module.

    Args:
        direction, log_target, reduction: as in the function.

    Shapes:
        ``forward(input, target)`` takes the tensors of the
        function.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.KLDivWithLogitsLoss()
        >>> round(loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)  # log 2
        0.6931
    """

    def __init__(
        self,
        *,
        direction: str = "forward",
        log_target: bool = False,
        reduction: str = "batchmean",
    ) -> None:
        super().__init__()
        self.direction = direction
        self.log_target = log_target
        self.reduction = reduction

    def forward(
        self,
        input: Tensor,
        target: Tensor,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.kl_div_with_logits`."""
        return kl_div_with_logits(
            input,
            target,
            **self._options(),
        )
