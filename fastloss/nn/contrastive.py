"""Modules of the contrastive losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks
from ..contrastive.clip_loss import clip_loss
from ..contrastive.in_batch_bpr_loss import in_batch_bpr_loss
from ..contrastive.in_batch_hinge_loss import in_batch_hinge_loss
from ..contrastive.info_nce import info_nce
from ..contrastive.linear_cross_entropy import linear_cross_entropy
from ..contrastive.siglip_loss import siglip_loss
from ._module import LogitScaleModule, LossModule, TemperatureModule, to_float

__all__ = [
    "CLIPLoss",
    "InBatchBPRLoss",
    "InBatchHingeLoss",
    "InfoNCELoss",
    "LinearCrossEntropyLoss",
    "SigLIPLoss",
]


class CLIPLoss(LogitScaleModule):
    """:func:`fastloss.clip_loss` as a module, with CLIP's learnable, clamped scale.

    Args:
        init_logit_scale: α > 0 at the start; CLIP's is 1 / 0.07.
        learnable: make α a parameter. It is stored as ``log_logit_scale``, so that it stays
            positive.
        max_logit_scale: α never exceeds it. A parameter beyond has gradient 0.
        similarity, label_smoothing, group, reduction: as in the function.

    Shapes:
        ``forward(image, text, *, logit_bias, key_ids, weights)`` takes the tensors of the function.

    Raises:
        TypeError, ValueError: a scale is not a positive finite number, or the first exceeds the
            largest.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.CLIPLoss()
        >>> round(loss.logit_scale.item(), 4)
        14.2857
        >>> loss(torch.eye(4), torch.eye(4)).item() < 1e-5
        True
    """

    def __init__(
        self,
        init_logit_scale: float = 1 / 0.07,
        learnable: bool = True,
        max_logit_scale: float = 100.0,
        *,
        similarity: str = "cosine",
        label_smoothing: float = 0.0,
        group: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(init_logit_scale, learnable, max_logit_scale)
        self.similarity = similarity
        self.label_smoothing = label_smoothing
        self.group = group
        self.reduction = reduction

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        *,
        logit_bias: float | Tensor | None = None,
        key_ids: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.clip_loss`."""
        return clip_loss(
            image,
            text,
            logit_scale=self.logit_scale,
            logit_bias=logit_bias,
            key_ids=key_ids,
            weights=weights,
            **self._options(),
        )


class InBatchBPRLoss(TemperatureModule):
    """:func:`fastloss.in_batch_bpr_loss` as a module.

    Args:
        temperature: τ > 0; with ``learnable`` its initial value.
        learnable: make τ a parameter. It is stored as ``log_temperature``, so that it stays
            positive.
        similarity, reduction: as in the function.

    Shapes:
        ``forward(query, key, *, key_ids, weights)`` takes the tensors of the function.

    Raises:
        TypeError, ValueError: temperature is not a positive finite number.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.InBatchBPRLoss(temperature=0.1)
        >>> loss(torch.eye(4), torch.eye(4)).item() < 1e-4
        True
    """

    def __init__(
        self,
        temperature: float = 1.0,
        learnable: bool = False,
        *,
        similarity: str = "dot",
        reduction: str = "mean",
    ) -> None:
        super().__init__(temperature, learnable)
        self.similarity = similarity
        self.reduction = reduction

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        *,
        key_ids: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.in_batch_bpr_loss`."""
        return in_batch_bpr_loss(
            query,
            key,
            temperature=self.temperature,
            key_ids=key_ids,
            weights=weights,
            **self._options(),
        )


class InBatchHingeLoss(TemperatureModule):
    """:func:`fastloss.in_batch_hinge_loss` as a module.

    Args:
        temperature: τ > 0; with ``learnable`` its initial value.
        learnable: make τ a parameter. It is stored as ``log_temperature``, so that it stays
            positive.
        margin, similarity, reduction: as in the function.

    Shapes:
        ``forward(query, key, *, key_ids, weights)`` takes the tensors of the function.

    Raises:
        TypeError, ValueError: temperature is not a positive finite number.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.InBatchHingeLoss(margin=0.5)
        >>> loss(torch.eye(4), torch.eye(4)).item()
        0.0
    """

    def __init__(
        self,
        temperature: float = 1.0,
        learnable: bool = False,
        *,
        margin: float = 1.0,
        similarity: str = "dot",
        reduction: str = "mean",
    ) -> None:
        super().__init__(temperature, learnable)
        self.margin = margin
        self.similarity = similarity
        self.reduction = reduction

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        *,
        key_ids: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.in_batch_hinge_loss`."""
        return in_batch_hinge_loss(
            query,
            key,
            temperature=self.temperature,
            key_ids=key_ids,
            weights=weights,
            **self._options(),
        )


class InfoNCELoss(TemperatureModule):
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
        super().__init__(temperature, learnable)
        self.similarity = similarity
        self.label_smoothing = label_smoothing
        self.margin = margin
        self.decoupled = decoupled
        self.group = group
        self.reduction = reduction

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
            key_bias=key_bias,
            key_ids=key_ids,
            weights=weights,
            **self._options(),
        )


class LinearCrossEntropyLoss(LossModule):
    """:func:`fastloss.linear_cross_entropy` as a module.

    Args:
        ignore_index, label_smoothing, reduction: as in the function.

    Shapes:
        ``forward(input, linear_weight, target, *, linear_bias, weight)`` takes the tensors of the
        function. The layer's weight is an argument: it belongs to the model.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.LinearCrossEntropyLoss()
        >>> input, target = torch.zeros(4, 8), torch.arange(4)
        >>> round(loss(input, torch.zeros(1000, 8), target).item(), 4)  # log 1000
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
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.linear_cross_entropy`."""
        return linear_cross_entropy(
            input,
            linear_weight,
            target,
            linear_bias=linear_bias,
            weight=weight,
            **self._options(),
        )


class SigLIPLoss(LogitScaleModule):
    """:func:`fastloss.siglip_loss` as a module, with SigLIP's learnable scale and bias.

    Args:
        init_logit_scale: α > 0 at the start; SigLIP's is 10.
        init_logit_bias: β at the start. SigLIP's is −10: most of the n² pairs are negatives, and
            with β = 0 the first steps would be spent on learning so.
        learnable: make α and β parameters. α is stored as ``log_logit_scale``, so that it stays
            positive, β as ``logit_bias``.
        max_logit_scale: α never exceeds it, a parameter beyond has gradient 0; None: no bound.
        similarity, group, reduction: as in the function.

    Shapes:
        ``forward(image, text, target=None, *, key_ids, weights)`` takes the tensors of the
        function.

    Raises:
        TypeError, ValueError: a scale is not a positive finite number, the bias not a finite one,
            or the first scale exceeds the largest.

    Example:
        >>> import torch, fastloss
        >>> loss = fastloss.nn.SigLIPLoss()
        >>> round(loss(torch.eye(4), torch.eye(4)).item(), 4)  # log 2, and 3 log(1 + e⁻¹⁰)
        0.6933
    """

    def __init__(
        self,
        init_logit_scale: float = 10.0,
        init_logit_bias: float = -10.0,
        learnable: bool = True,
        max_logit_scale: float | None = None,
        *,
        similarity: str = "cosine",
        group: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(init_logit_scale, learnable, max_logit_scale)
        bias = _checks.number("SigLIPLoss", "init_logit_bias", init_logit_bias)
        self.logit_bias = nn.Parameter(torch.tensor(bias)) if learnable else bias
        self.similarity = similarity
        self.group = group
        self.reduction = reduction

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        target: Tensor | None = None,
        *,
        key_ids: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`fastloss.siglip_loss`."""
        return siglip_loss(
            image,
            text,
            target,
            logit_scale=self.logit_scale,
            logit_bias=self.logit_bias,
            key_ids=key_ids,
            weights=weights,
            **self._options(),
        )

    def _scale_repr(self) -> list[str]:
        scale, *learnable = super()._scale_repr()
        return [scale, f"logit_bias={to_float(self.logit_bias):g}", *learnable]
