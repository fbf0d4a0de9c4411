"""Modules of the contrastive losses."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks
from ..contrastive.clip_loss import clip_loss
from ..contrastive.info_nce import info_nce
from ..contrastive.linear_cross_entropy import linear_cross_entropy
from ..contrastive.nt_xent import nt_xent
from ..contrastive.sup_con import sup_con
from ._module import LossModule, TemperatureModule, to_float

__all__ = ["CLIPLoss", "InfoNCELoss", "LinearCrossEntropyLoss", "NTXentLoss", "SupConLoss"]


class CLIPLoss(LossModule):
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

    log_logit_scale: nn.Parameter

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
        super().__init__()
        initial = _checks.positive("CLIPLoss", "init_logit_scale", init_logit_scale)
        self.max_logit_scale = _checks.positive("CLIPLoss", "max_logit_scale", max_logit_scale)
        if initial > self.max_logit_scale:
            raise ValueError(
                f"CLIPLoss: init_logit_scale must be at most max_logit_scale, "
                f"{self.max_logit_scale:g}, got {initial:g}"
            )
        self.learnable = _checks.flag("CLIPLoss", "learnable", learnable)
        if learnable:
            self.log_logit_scale = nn.Parameter(torch.tensor(math.log(initial)))
        else:
            self._logit_scale = initial
        self.similarity = similarity
        self.label_smoothing = label_smoothing
        self.group = group
        self.reduction = reduction

    @property
    def logit_scale(self) -> float | Tensor:
        """α: a float, or a tensor with gradient when learnable."""
        if not self.learnable:
            return self._logit_scale
        return torch.exp(self.log_logit_scale).clamp(max=self.max_logit_scale)

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

    def _scale_repr(self) -> list[str]:
        learnable = [] if self.learnable else ["learnable=False"]
        return [f"logit_scale={to_float(self.logit_scale):g}", *learnable]


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
