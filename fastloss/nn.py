"""The losses as modules: options in the constructor, tensors in ``forward``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from . import _checks
from .contrastive.info_nce import info_nce

__all__ = ["InfoNCELoss"]


class InfoNCELoss(nn.Module):
    """:func:`fastloss.info_nce` as a module.

    Args:
        temperature: τ > 0; with ``learnable`` its initial value.
        learnable: make τ a parameter. It is stored as ``log_temperature``, so that it stays
            positive.
        similarity, label_smoothing, margin, decoupled, group, reduction: as in the function.

    Shapes:
        ``forward(query, key, target=None, *, negatives, key_bias, key_ids, weights)`` takes the
        tensors of the function.

    Raises:
        TypeError, ValueError: temperature is not a positive finite number.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.InfoNCELoss(temperature=0.1, learnable=True)
        >>> loss(torch.eye(4), torch.eye(4)).item() < 1e-3
        True
    """

    log_temperature: nn.Parameter

    def __init__(
        self,
        temperature: float = 0.07,
        learnable: bool = False,
        *,
        similarity: str = "cosine",
        label_smoothing: float = 0.0,
        margin: float = 0.0,
        decoupled: bool = False,
        group: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        temperature = _checks.number("InfoNCELoss", "temperature", temperature)
        if temperature <= 0:
            raise ValueError(f"InfoNCELoss: temperature must be positive, got {temperature}")
        self.learnable = _checks.flag("InfoNCELoss", "learnable", learnable)
        if learnable:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        else:
            self._temperature = temperature
        self.similarity = similarity
        self.label_smoothing = label_smoothing
        self.margin = margin
        self.decoupled = decoupled
        self.group = group
        self.reduction = reduction

    @property
    def temperature(self) -> float | Tensor:
        """τ: a float, or a tensor with gradient when learnable."""
        return torch.exp(self.log_temperature) if self.learnable else self._temperature

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        target: Tensor | None = None,
        *,
        negatives: Tensor | None = None,
        key_bias: Tensor | None = None,
        key_ids: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.info_nce`."""
        return info_nce(
            query,
            key,
            target,
            negatives=negatives,
            temperature=self.temperature,
            similarity=self.similarity,
            key_bias=key_bias,
            key_ids=key_ids,
            label_smoothing=self.label_smoothing,
            margin=self.margin,
            decoupled=self.decoupled,
            weights=weights,
            group=self.group,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options that differ from their defaults, and the temperature."""
        temperature = float(self.temperature)
        shown = [f"temperature={temperature:g}"]
        if self.learnable:
            shown.append("learnable=True")
        defaults = {
            "similarity": "cosine", "label_smoothing": 0.0, "margin": 0.0, "decoupled": False,
            "reduction": "mean",
        }  # fmt: skip
        shown += [f"{k}={getattr(self, k)!r}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join(shown)
