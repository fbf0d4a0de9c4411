"""The bound on temporary memory, one number for the process."""

from __future__ import annotations

from ._setting import Setting


class workspace_limit(Setting):  # noqa: N801  (used like a function)
    """Bound the temporary memory of every loss, in bytes (default 64 MiB).

    Called, it sets the bound; as a context manager it restores the former one on exit. A loss reads
    the bound once, in its forward pass, and keeps it for its backward pass. Every chunk size
    follows from it: a small bound costs time, never accuracy. Results are the same to rounding.
    A bound below one tile (a few hundred KiB, depending on d and the number of threads) is met as
    closely as one tile allows. The peak of a loss is this bound, accumulators of its gradients and
    the gradients it returns; what is not yet returned holds scores meanwhile, where rows are long.
    The bound is a property of the process, not of a thread.

    Args:
        bytes: a positive integer.

    Raises:
        TypeError: bytes is not an integer.
        ValueError: bytes is not positive.

    Example:
        >>> import fastloss
        >>> with fastloss.workspace_limit(8 << 20):
        ...     pass  # losses in here use at most 8 MiB of temporaries
    """

    _current = 64 << 20

    def __init__(self, bytes: int) -> None:
        if isinstance(bytes, bool) or not isinstance(bytes, int):
            raise TypeError(f"workspace_limit: bytes must be an int, got {type(bytes).__name__}")
        if bytes <= 0:
            raise ValueError(f"workspace_limit: bytes must be positive, got {bytes}")
        super().__init__(bytes)


def current_workspace_limit() -> int:
    """Return the bound in force, in bytes."""
    return workspace_limit._current
