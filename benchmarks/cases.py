"""What is measured: one `Case` a shape, with the bars it has to meet.

A new loss adds its cases here and its sides (fastloss, eager, ...) in a module of its own that
`sides.py` lists. Every loss calls its operands query (n, d) and key (m, d): image and text of
clip_loss, input and linear_weight of linear_cross_entropy.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

FORWARD = "forward"
TRAIN = "forward+backward"
MODES = (FORWARD, TRAIN)

LOSSES = ("info_nce", "clip_loss", "linear_cross_entropy", "pairwise_logsumexp")
DTYPES = ("float32", "bfloat16", "float16")

# Names of the sides that bars, tables and plots speak of; peers have theirs in peers.py.
LIMIT = "bare products"
FASTLOSS = "fastloss"
FLOAT32 = "fastloss, float32"  # half cases only
DOT = "fastloss, dot"  # cosine cases only
EAGER = "eager"
TWO_LOGITS = "two logits"
CLOSED_FORM = "closed form"
LOOP = "chunked loop"
COMPILE = "torch.compile"
TORCH = "F.linear_cross_entropy"
TORCH_CHUNKED = "F.linear_cross_entropy, chunked"

WORKSPACE = 64 << 20  # the default of fastloss.workspace_limit, in bytes
KEPT_ROWS = 64  # with fewer rows of scores in the workspace, the scores are formed twice
AMX = "amx_bf16"


@dataclass(frozen=True)
class Bar:
    """`fastloss` takes at most `limit` times as long as the side `against`.

    A bar that `needs` an instruction set is not judged on a machine without it.
    """

    mode: str
    against: str
    limit: float
    needs: str | None = None


@dataclass(frozen=True)
class Case:
    """One shape of one loss."""

    loss: str
    n: int
    m: int
    d: int
    dtype: str = "float32"
    similarity: str = "dot"
    temperature: float = 0.07  # clip_loss: logit_scale is its inverse
    workspace: int = WORKSPACE
    device: str = "cpu"
    bars: tuple[Bar, ...] = ()
    quick: bool = False  # part of --quick
    quick_only: bool = False
    compiled: bool = False  # with torch.compile, which takes tens of seconds a case

    @property
    def name(self) -> str:
        parts = [f"{self.loss}-{self.n}x{self.m}x{self.d}"]
        if self.similarity != "dot":
            parts.append(self.similarity)
        if self.workspace != WORKSPACE:
            parts.append(f"{self.workspace >> 20}MiB")
        if self.dtype != "float32":
            parts.append(self.dtype)
        return "-".join(parts)

    @property
    def half(self) -> bool:
        return self.dtype in ("bfloat16", "float16")

    @property
    def products(self) -> int:
        """The n x m x d matrix products of TRAIN that the ratios to the limit are formed with.

        Three, or four where no row of scores can be kept from the forward pass.
        """
        return 4 if KEPT_ROWS * 4 * self.m > self.workspace else 3

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
        features = (self.n + self.m) * self.d
        gradients = (4 + (2 if self.half else 4)) * features
        return self.workspace + gradients + 64 * (self.n + self.m) + (4 << 20)

    @property
    def shape(self) -> dict[str, Any]:
        """What identifies the case, apart from its bars and its place in the lists: a row's start.

        `Case(**case.shape)` is the same problem.
        """
        left_out = ("bars", "quick", "quick_only", "compiled")
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def _info_nce(n: int, d: int, **options: Any) -> Case:
    if d >= 512:
        bars = (Bar(TRAIN, LOOP, 1.00), Bar(TRAIN, LIMIT, 1.03))
    else:
        bars = (Bar(TRAIN, LOOP, 0.90),)
    bars += (Bar(FORWARD, LIMIT, 1.05),)
    return Case("info_nce", n, n, d, bars=bars, **options)


def _half(loss: str, n: int, m: int, d: int, dtype: str, **options: Any) -> Case:
    """Against float32: no slower anywhere, and half the time where there are matrix units."""
    bars: tuple[Bar, ...] = (Bar(FORWARD, FLOAT32, 1.0), Bar(TRAIN, FLOAT32, 1.0))
    if dtype == "bfloat16":
        bars += (Bar(TRAIN, FLOAT32, 0.5, needs=AMX),)
        if d == 512 and n >= 4096:
            bars += (Bar(FORWARD, LIMIT, 0.25 if n >= 8192 else 0.36, needs=AMX),)
    return Case(loss, n, m, d, dtype=dtype, bars=bars, **options)


MANY = 1_000_000

CASES = (
    _info_nce(4096, 64, quick=True, compiled=True),
    _info_nce(4096, 128),
    _info_nce(4096, 512),
    _info_nce(8192, 64),
    _info_nce(8192, 128),
    _info_nce(8192, 512),
    # Further out, without bars. Eager needs 3 GB for the larger.
    Case("info_nce", 1024, 1024, 1024),
    Case("info_nce", 16_384, 16_384, 64),
    Case(
        *("info_nce", 2048, MANY, 64),
        bars=(Bar(TRAIN, LIMIT, 1.3), Bar(TRAIN, LOOP, 0.9)),
    ),
    Case("info_nce", 128, MANY, 64, quick=True, quick_only=True),  # the same regime, for a look
    Case("info_nce", 64, 64, 128, bars=(Bar(TRAIN, EAGER, 1.0),), quick=True),
    Case(
        *("info_nce", 4096, 4096, 128),
        similarity="cosine",
        bars=(Bar(FORWARD, DOT, 1.04), Bar(TRAIN, DOT, 1.04)),
    ),
    _half("info_nce", 4096, 4096, 128, "bfloat16"),
    _half("info_nce", 4096, 4096, 128, "float16"),
    Case("clip_loss", 1024, 1024, 512),
    Case(
        *("clip_loss", 4096, 4096, 512),
        workspace=80 << 20,  # the scores fit
        bars=(Bar(TRAIN, LIMIT, 1.08),),
        quick=True,
        compiled=True,
    ),
    Case("clip_loss", 4096, 4096, 512, similarity="cosine"),
    Case("clip_loss", 8192, 8192, 512, bars=(Bar(TRAIN, LIMIT, 1.38),)),
    Case("clip_loss", 16_384, 16_384, 256),
    _half("clip_loss", 4096, 4096, 512, "bfloat16", quick=True),
    _half("clip_loss", 8192, 8192, 512, "bfloat16"),
    _half("clip_loss", 4096, 4096, 512, "float16"),
    Case(
        *("linear_cross_entropy", 2048, 200_000, 128),
        bars=(Bar(TRAIN, LOOP, 0.95), Bar(TRAIN, TORCH, 0.2), Bar(TRAIN, TORCH_CHUNKED, 0.2)),
    ),
    Case("linear_cross_entropy", 2048, 32_768, 512),
    Case("linear_cross_entropy", 1024, 16_384, 512, quick=True, quick_only=True),
    _half("linear_cross_entropy", 2048, 32_768, 512, "bfloat16"),
    Case("pairwise_logsumexp", 4096, 4096, 128, quick=True),
    Case("pairwise_logsumexp", 16_384, 16_384, 128),
    _half("pairwise_logsumexp", 4096, 4096, 128, "bfloat16"),
)

IMPORT_CASE = "import fastloss"
IMPORT_BAR = 0.050  # seconds on top of importing torch


def grid(
    losses: Sequence[str],
    n: Sequence[int],
    m: Sequence[int] | None,
    d: Sequence[int],
    dtypes: Sequence[str],
) -> list[Case]:
    """Every combination that makes sense: clip_loss has m = n, info_nce m ≥ n. `m` None: m = n."""
    cases = []
    for loss, rows, features, dtype in itertools.product(losses, n, d, dtypes):
        for keys in m or [rows]:
            if keys == rows or loss in LOSSES[2:] or (loss == "info_nce" and keys > rows):
                cases.append(Case(loss, rows, keys, features, dtype=dtype))
    return cases
