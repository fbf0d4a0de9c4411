"""What is measured: one `Case` a shape, with the bars it has to meet.

A new loss adds its cases here and its sides (fastloss, eager, ...) in a module of its own that
`sides.py` lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FORWARD = "forward"
TRAIN = "forward+backward"
MODES = (FORWARD, TRAIN)

# Names of the sides.
LIMIT = "bare products"
FASTLOSS = "fastloss"
EAGER = "eager"
COMPILE = "torch.compile"
LOOP = "chunked loop"
DOT = "fastloss, dot"  # cosine cases only

WORKSPACE = 64 << 20  # the default of fastloss.workspace_limit, in bytes


@dataclass(frozen=True)
class Bar:
    """`fastloss` takes at most `limit` times as long as the side `against`."""

    mode: str
    against: str
    limit: float


@dataclass(frozen=True)
class Case:
    """One shape of one loss.

    `products` counts the n x m x d matrix products that nobody can do without in TRAIN: three, or
    four where no row of scores is kept from the forward pass and the scores are formed twice.
    """

    name: str
    loss: str
    n: int
    m: int
    d: int
    similarity: str = "dot"
    temperature: float = 0.07
    products: int = 3
    bars: tuple[Bar, ...] = ()
    quick: bool = False  # part of --quick
    quick_only: bool = False
    compile_in_quick: bool = False  # compiling takes tens of seconds
    sizes: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sizes = {"n": self.n, "m": self.m, "d": self.d, "similarity": self.similarity}
        object.__setattr__(self, "sizes", sizes)

    @property
    def score_bytes(self) -> int:
        """Bytes of one float32 score matrix."""
        return 4 * self.n * self.m

    @property
    def bound_bytes(self) -> int:
        """The promised bound on fastloss's peak extra memory in TRAIN.

        Workspace + float32 accumulators of both gradients + the returned gradients + O(n + m), the
        last one taken as 64 bytes a row and a key. 4 MiB cover pages that do not grow with the
        problem: code touched for the first time, thread stacks, the matrix library's buffers.
        """
        gradients = 4 * (self.n + self.m) * self.d
        return WORKSPACE + 2 * gradients + 64 * (self.n + self.m) + (4 << 20)


def _square(n: int, d: int, **options: Any) -> Case:
    if d >= 512:
        bars = (Bar(TRAIN, LOOP, 1.00), Bar(TRAIN, LIMIT, 1.03))
    else:
        bars = (Bar(TRAIN, LOOP, 0.90),)
    bars += (Bar(FORWARD, LIMIT, 1.05),)
    return Case(f"info_nce-{n}x{n}x{d}", "info_nce", n, n, d, bars=bars, **options)


CASES = (
    _square(4096, 64, quick=True, compile_in_quick=True),
    _square(4096, 128),
    _square(4096, 512, quick=True),
    _square(8192, 64),
    _square(8192, 128),
    _square(8192, 512),
    Case(
        "info_nce-2048x1000000x64",
        "info_nce",
        2048,
        1_000_000,
        64,
        products=4,
        bars=(Bar(TRAIN, LIMIT, 1.3), Bar(TRAIN, LOOP, 0.9)),
    ),
    Case(  # the same regime, for a look
        "info_nce-128x1000000x64",
        "info_nce",
        128,
        1_000_000,
        64,
        products=4,
        quick=True,
        quick_only=True,
    ),
    Case(
        "info_nce-64x64x128",
        "info_nce",
        64,
        64,
        128,
        bars=(Bar(TRAIN, EAGER, 1.0),),
        quick=True,
    ),
    Case(
        "info_nce-4096x4096x128-cosine",
        "info_nce",
        4096,
        4096,
        128,
        similarity="cosine",
        bars=(Bar(FORWARD, DOT, 1.04), Bar(TRAIN, DOT, 1.04)),
        quick=True,
    ),
)

IMPORT_CASE = "import fastloss"
IMPORT_BAR = 0.050  # seconds on top of importing torch


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)
