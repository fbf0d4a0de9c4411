"""What all modules share: options kept under the names that the constructor gives them."""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks


class LossModule(nn.Module):
    """A loss whose keyword-only arguments of the constructor are options of the function."""

    _defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        parameters = inspect.signature(cls.__init__).parameters.values()
        cls._defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._defaults}

    def _scale_repr(self) -> list[str]:
        """What stands before the options: a scale, where the module has one."""
        return []

    def extra_repr(self) -> str:
        """Return the scale, and the options that differ from their defaults."""
        differing = [
            f"{name}={value!r}"
            for name, value in self._options().items()
            if value != self._defaults[name]
        ]
        return ", ".join([*self._scale_repr(), *differing])


def to_float(scale: float | Tensor) -> float:
    return scale.detach().item() if isinstance(scale, Tensor) else scale


class LogitScaleModule(LossModule):
    """A loss whose similarities are multiplied by a scale, which may be learnt and bounded."""

    log_logit_scale: nn.Parameter

    def __init__(
        self, init_logit_scale: float, learnable: bool, max_logit_scale: float | None
    ) -> None:
        super().__init__()
        name = type(self).__name__
        initial = _checks.positive(name, "init_logit_scale", init_logit_scale)
        self.max_logit_scale = max_logit_scale
        if max_logit_scale is not None:
            self.max_logit_scale = _checks.positive(name, "max_logit_scale", max_logit_scale)
            if initial > self.max_logit_scale:
                raise ValueError(
                    f"{name}: init_logit_scale must be at most max_logit_scale, "
                    f"{self.max_logit_scale:g}, got {initial:g}"
                )
        self.learnable = _checks.flag(name, "learnable", learnable)
        if learnable:
            self.log_logit_scale = nn.Parameter(torch.tensor(math.log(initial)))
        else:
            self._logit_scale = initial

    @property
    def logit_scale(self) -> float | Tensor:
        """α: a float, or a tensor with gradient when learnable."""
        if not self.learnable:
            return self._logit_scale
        scale = torch.exp(self.log_logit_scale)
        return scale if self.max_logit_scale is None else scale.clamp(max=self.max_logit_scale)

    def _scale_repr(self) -> list[str]:
        learnable = [] if self.learnable else ["learnable=False"]
        return [f"logit_scale={to_float(self.logit_scale):g}", *learnable]


class TemperatureModule(LossModule):
    """A loss whose scores are divided by a temperature, which may be learnt."""

    log_temperature: nn.Parameter

    def __init__(self, temperature: float, learnable: bool) -> None:
        super().__init__()
        name = type(self).__name__
        temperature = _checks.positive(name, "temperature", temperature)
        self.learnable = _checks.flag(name, "learnable", learnable)
        if learnable:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        else:
            self._temperature = temperature

    @property
    def temperature(self) -> float | Tensor:
        """τ: a float, or a tensor with gradient when learnable."""
        return torch.exp(self.log_temperature) if self.learnable else self._temperature

    def _scale_repr(self) -> list[str]:
        learnable = ["learnable=True"] if self.learnable else []
        return [f"temperature={to_float(self.temperature):g}", *learnable]
