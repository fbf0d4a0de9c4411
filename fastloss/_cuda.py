"""What of CUDA is in this build, and the choice of the engine there."""

from __future__ import annotations

from . import _C
from ._setting import Setting

BUILT: bool = _C.build_facts()["cuda"]

# Losses with CUDA kernels where the build has any; by the stem of their operators.
LOSSES = frozenset(
    (
        "batch_hard_triplet_loss",
        "clip_loss",
        "in_batch_bpr_loss",
        "in_batch_hinge_loss",
        "info_nce",
        "linear_cross_entropy",
        "nt_xent",
        "pairwise_contrastive_loss",
        "pairwise_logsumexp",
        "siglip_loss",
        "sup_con",
    )
)
ENGINES = ("auto", "library", "mma")


class cuda_engine(Setting):  # noqa: N801  (used like a function)
    """Choose how the pairwise losses multiply on a CUDA device.

    Called, it sets the choice; as a context manager it restores the former one on exit. "library"
    forms chunks of scores by the library's matrix products, within the workspace limit, and works
    on them by kernels of our own. "mma" makes scores in tensor-core kernels that never write them,
    for bfloat16 and float16, and for float32 where torch may multiply in tf32; for other dtypes it
    is "library". A loss on a GPU of a compute capability below 8.0 raises then. "auto" is
    "library": no hardware has compared the two yet. The choice is one of the process, not of a
    thread; it is read at the start of each forward and each backward pass, in compiled graphs too.
    Results are the same to rounding. In a build without CUDA kernels it changes nothing.

    Args:
        name: "auto", "library" or "mma".

    Raises:
        TypeError: name is not a string.
        ValueError: another name.

    Example:
        >>> import fastloss
        >>> with fastloss.cuda_engine("mma"):
        ...     pass  # losses of CUDA tensors in here take the tensor-core kernels
    """

    _current = "auto"

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"cuda_engine: name must be a string, got {type(name).__name__}")
        if name not in ENGINES:
            raise ValueError(f"cuda_engine: name must be one of {', '.join(ENGINES)}, got {name!r}")
        super().__init__(name)

    @classmethod
    def _set(cls, value: str) -> None:
        if BUILT:
            _C.set_cuda_engine(value)
        super()._set(value)


def current_cuda_engine() -> str:
    """Return the choice in force."""
    return cuda_engine._current
