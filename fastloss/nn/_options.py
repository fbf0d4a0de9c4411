"""How the modules show their options."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def to_float(scale: float | Tensor) -> float:
    return scale.detach().item() if isinstance(scale, Tensor) else scale


def differing(module: nn.Module, defaults: dict[str, Any]) -> list[str]:
    """Options that differ from their defaults, as they would be written in the call."""
    return [f"{k}={getattr(module, k)!r}" for k, v in defaults.items() if getattr(module, k) != v]
