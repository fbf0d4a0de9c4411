"""A value of the process, set by a call, or for the length of a `with` block."""

from __future__ import annotations

from types import TracebackType
from typing import Any, TypeVar

_Setting = TypeVar("_Setting", bound="Setting")


class Setting:
    """Sets the value of its class when made, and the former one on exit."""

    _current: Any

    def __init__(self, value: Any) -> None:
        self._former = self._current
        self._value = value
        self._set(value)

    @classmethod
    def _set(cls, value: Any) -> None:
        cls._current = value

    def __enter__(self: _Setting) -> _Setting:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._set(self._former)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value!r})"
