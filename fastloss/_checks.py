"""Argument errors: one line that names the op, the argument, what it must be and what was got.

Wrong types and dtypes raise TypeError, everything else ValueError. Values inside tensors are not
read here (that would synchronise a device and break a compiled graph); the kernels check them.
"""

from __future__ import annotations

import numbers
from typing import Any

import torch
from torch import Tensor

from . import _cuda

SIMILARITIES = ("cosine", "dot", "euclidean", "sqeuclidean")
REDUCTIONS = ("mean", "sum", "none")
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def tensor(op: str, name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(value).__name__}")
    return value


def shape(op: str, name: str, value: Tensor, expected: tuple[Any, ...], why: str = "") -> None:
    """Compare a shape; a string in `expected` stands for any size and names it."""
    if value.dim() == len(expected):
        for have, want in zip(value.shape, expected, strict=True):
            if not isinstance(want, str) and have != want:
                break
        else:
            return
    wanted = ", ".join(str(size) for size in expected) + ("," if len(expected) == 1 else "")
    raise ValueError(f"{op}: {name} must have shape ({wanted}){why}, got {tuple(value.shape)}")


def floating(
    op: str, name: str, value: object, like: Tensor | None = None, of: str = "query"
) -> None:
    """Check a tensor that the kernels read in its own dtype, the same as that of `like`, which is
    the argument `of`; so is the device."""
    value = tensor(op, name, value)
    if value.dtype not in _DTYPES:
        raise TypeError(
            f"{op}: {name} must be float32, float64, bfloat16 or float16, got {value.dtype}"
        )
    if like is not None and value.dtype != like.dtype:
        raise TypeError(
            f"{op}: {name} must have the same dtype as {of}, {like.dtype}, got {value.dtype}"
        )
    device(op, name, value, like, of)


def device(
    op: str, name: str, value: Tensor, like: Tensor | None = None, of: str = "query"
) -> None:
    if like is not None and value.device != like.device:
        raise ValueError(
            f"{op}: {name} must be on the same device as {of}, {like.device}, got {value.device}"
        )
    if value.device.type == "cuda":
        _has_cuda(op, name, value)
    elif value.device.type not in ("cpu", "meta"):
        raise ValueError(f"{op}: {name} must be on the CPU or a CUDA device, got {value.device}")


def _has_cuda(op: str, name: str, value: Tensor) -> None:
    """Nothing falls back silently: the message says what would help."""
    if op not in _cuda.LOSSES:
        raise RuntimeError(
            f"{op}: {name} is on {value.device}, but {op} has no CUDA kernels in this version; "
            "move the tensors to the CPU"
        )
    if not _cuda.BUILT:
        raise RuntimeError(
            f"{op}: {name} is on {value.device}, but this fastloss was built without CUDA kernels: "
            "rebuild it where torch has CUDA and nvcc is installed "
            "(`FASTLOSS_CUDA=1 pip install --force-reinstall --no-deps .` says what is missing), "
            "or move the tensors to the CPU"
        )


def vector(
    op: str,
    name: str,
    value: object,
    like: Tensor,
    rows: Tensor,
    *,
    integer: bool,
    of: str = "query",
) -> None:
    """Check a 1-D tensor of int64 or floating values, one for each of `rows`."""
    value = tensor(op, name, value)
    if integer and value.dtype != torch.int64:
        raise TypeError(f"{op}: {name} must be int64, got {value.dtype}")
    if not integer and not value.dtype.is_floating_point:
        raise TypeError(f"{op}: {name} must be a floating tensor, got {value.dtype}")
    device(op, name, value, like, of)
    shape(op, name, value, (rows.shape[0],))


def beside(
    op: str,
    name: str,
    value: object,
    like: Tensor,
    expected: tuple[Any, ...],
    *,
    of: str,
    why: str = "",
    integer: bool = False,
) -> Tensor:
    """Check a tensor of numbers without gradient that stands beside the scores `like`: floating of
    any dtype, with `integer` also integers and booleans."""
    value = tensor(op, name, value)
    if value.dtype.is_complex or not (integer or value.dtype.is_floating_point):
        kind = "a tensor of numbers" if integer else "a floating tensor"
        raise TypeError(f"{op}: {name} must be {kind}, got {value.dtype}")
    device(op, name, value, like, of)
    shape(op, name, value, expected, why)
    no_grad(op, name, value)
    return value


def indices(
    op: str, name: str, value: object, like: Tensor, expected: tuple[Any, ...], *, of: str, why: str
) -> None:
    """Check an int64 tensor that stands beside the scores `like`."""
    value = tensor(op, name, value)
    if value.dtype != torch.int64:
        raise TypeError(f"{op}: {name} must be int64 or probabilities, got {value.dtype}")
    device(op, name, value, like, of)
    shape(op, name, value, expected, why)


def mask(
    op: str, name: str, value: object, like: Tensor, expected: tuple[Any, ...], of: str
) -> Tensor:
    """Check a boolean tensor, True where `like` holds a real item."""
    value = tensor(op, name, value)
    if value.dtype != torch.bool:
        raise TypeError(f"{op}: {name} must be boolean, got {value.dtype}")
    device(op, name, value, like, of)
    shape(op, name, value, expected, f" as {of}")
    return value


def no_grad(op: str, name: str, value: Tensor | None) -> None:
    if value is not None and value.requires_grad:
        raise ValueError(f"{op}: {name} must not require grad: no gradient is defined for it")


def number(op: str, name: str, value: object) -> float:
    if type(value) is float:
        got = value
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: {name} must be a number, got {type(value).__name__}")
    else:
        got = float(value)
    if got - got != 0:  # inf or NaN; math.isfinite has no place in a compiled graph
        raise ValueError(f"{op}: {name} must be finite, got {got}")
    return got


def in_range(op: str, name: str, value: object, low: float, high: float) -> float:
    got = number(op, name, value)
    if not low <= got <= high:
        raise ValueError(f"{op}: {name} must be in [{low:g}, {high:g}], got {got}")
    return got


def flag(op: str, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be a bool, got {type(value).__name__}")
    return value


def choice(op: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{op}: {name} must be a string, got {type(value).__name__}")
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def positive(op: str, name: str, value: object) -> float:
    got = number(op, name, value)
    if got <= 0:
        raise ValueError(f"{op}: {name} must be positive, got {got}")
    return got


def not_negative(op: str, name: str, value: object) -> float:
    got = number(op, name, value)
    if got < 0:
        raise ValueError(f"{op}: {name} must not be negative, got {got}")
    return got


def positive_scalar(
    op: str, name: str, value: object, like: Tensor, of: str = "query"
) -> tuple[Tensor | None, float]:
    """Split a positive scale into (tensor, 1.0) or (None, float)."""
    if isinstance(value, Tensor):
        scalar_tensor(op, name, value, like, of)
        return value, 1.0
    return None, positive(op, name, value)


def scalar(
    op: str, name: str, value: object, like: Tensor, of: str = "query"
) -> tuple[Tensor | None, float]:
    """Split a number into (tensor, 0.0) or (None, float)."""
    if isinstance(value, Tensor):
        scalar_tensor(op, name, value, like, of)
        return value, 0.0
    return None, number(op, name, value)


def scalar_tensor(op: str, name: str, value: Tensor, like: Tensor, of: str) -> None:
    if not value.dtype.is_floating_point:
        raise TypeError(f"{op}: {name} must be a floating tensor, got {value.dtype}")
    shape(op, name, value, ())
    device(op, name, value, like, of)


def no_group(op: str, group: Any) -> None:
    if group is not None:
        raise NotImplementedError(
            f"{op}: group must be None: distributed batches are not implemented, got {group!r}"
        )
