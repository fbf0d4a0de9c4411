"""Losses of one set of embeddings against itself, as modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..contrastive.nt_xent import nt_xent
from ..contrastive.sup_con import sup_con
from ._module import TemperatureModule

__all__ = ["NTXentLoss", "SupConLoss"]


class NTXentLoss(TemperatureModule):
    """:func:`fastloss.nt_xent` as a module.

    Args:
        temperature: τ > 0; with ``learnable`` its initial value.
        learnable: make τ a parameter. It is stored as ``log_temperature``, so that it stays
            positive.
        similarity, decoupled, group, reduction: as in the function.

    Shapes:
        ``forward(view1, view2, *, queue, weights)`` takes the tensors of the function.

    Raises:
        TypeError, ValueError: temperature is not a positive finite number.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.NTXentLoss(temperature=0.1)
        >>> loss(torch.eye(4), torch.eye(4)).item() < 1e-3
        True
    """

    def __init__(
        self,
        temperature: float = 0.5,
        learnable: bool = False,
        *,
        similarity: str = "cosine",
        decoupled: bool = False,
        group: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(temperature, learnable)
        self.similarity = similarity
        self.decoupled = decoupled
        self.group = group
        self.reduction = reduction

    def forward(
        self,
        view1: Tensor,
        view2: Tensor,
        *,
        queue: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.nt_xent`."""
        return nt_xent(
            view1,
            view2,
            queue=queue,
            temperature=self.temperature,
            weights=weights,
            **self._options(),
        )


class SupConLoss(TemperatureModule):
    """:func:`fastloss.sup_con` as a module.

    Args:
        temperature: τ > 0; with ``learnable`` its initial value.
        learnable: make τ a parameter. It is stored as ``log_temperature``, so that it stays
            positive.
        similarity, group, reduction: as in the function.

    Shapes:
        ``forward(embeddings, labels, *, ref_embeddings, ref_labels, weights)`` takes the tensors of
        the function.

    Raises:
        TypeError, ValueError: temperature is not a positive finite number.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.SupConLoss(temperature=0.1)
        >>> labels = torch.tensor([0, 1, 0, 1])
        >>> loss(torch.eye(2).repeat(2, 1), labels).item() < 1e-3
        True
    """

    def __init__(
        self,
        temperature: float = 0.07,
        learnable: bool = False,
        *,
        similarity: str = "cosine",
        group: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(temperature, learnable)
        self.similarity = similarity
        self.group = group
        self.reduction = reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        ref_embeddings: Tensor | None = None,
        ref_labels: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.sup_con`."""
        return sup_con(
            embeddings,
            labels,
            ref_embeddings=ref_embeddings,
            ref_labels=ref_labels,
            temperature=self.temperature,
            weights=weights,
            **self._options(),
        )
