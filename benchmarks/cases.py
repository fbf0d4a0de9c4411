"""What is measured: one `Case` a shape, with the bars it has to meet.

A new loss adds its cases here and its sides (fastloss, eager, ...) in a module that `sides.py`
lists. A loss of features has operands query (n, d) and key (m, d): image and text of clip_loss,
input and linear_weight of linear_cross_entropy; a loss of one set (ONE_SET) has n = m rows. A loss
of scores, d = 0, has n lists of m items
(LISTS), n rows of one positive and m negatives (ROWS), or an n x m matrix of logits or items
(POINTWISE). One of rows against rows, d = 0 too, has n rows of m features (METRIC).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

FORWARD = "forward"
TRAIN = "forward+backward"
MODES = (FORWARD, TRAIN)

LABELLED = ("batch_hard_triplet_loss", "pairwise_contrastive_loss")  # distances by label
ONE_SET = ("nt_xent", "sup_con", *LABELLED)
IN_BATCH = ("in_batch_bpr_loss", "in_batch_hinge_loss")
MORE_KEYS = ("info_nce", "siglip_loss", *IN_BATCH)  # m ≥ n
ANY_KEYS = ("linear_cross_entropy", "pairwise_logsumexp")
FEATURES = ("clip_loss", *MORE_KEYS, *ANY_KEYS, *ONE_SET)
LISTS = ("ranknet_loss", "pairwise_hinge_loss", "listnet_loss")
ROWS = ("bpr_loss", "pairwise_margin_loss", "sampled_softmax_loss")
POINTWISE = (
    "cross_entropy",
    "kl_div_with_logits",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy",
    "hinge_loss",
)
METRIC = ("triplet_margin_loss", "labelled_triplet_loss", "contrastive_loss")
TRIPLETS = ("batch_all_triplet_loss", "semi_hard_triplet_loss")  # n rows of m classes
LOSSES = (*FEATURES, *TRIPLETS, *LISTS, *ROWS, *POINTWISE, *METRIC)
ALL_PAIRS = LISTS[:2]  # their plain forms need m x m differences a list
DTYPES = ("float32", "bfloat16", "float16")
LABELS = ("binary", "graded", "continuous")  # of lists: {0, 1}, {0, ..., 4}, all different

# Names of the sides that bars, tables and plots speak of; peers have theirs in peers.py.
LIMIT = "bare products"
FASTLOSS = "fastloss"
FLOAT32 = "fastloss, float32"  # half cases only
MMA = "fastloss, mma"  # CUDA only: cuda_engine("mma")
DOT = "fastloss, dot"  # cosine cases only
EAGER = "eager"
TWO_LOGITS = "two logits"
CLOSED_FORM = "closed form"
LOOP = "chunked loop"
COMPILE = "torch.compile"
TORCH = "F.linear_cross_entropy"
TORCH_CHUNKED = "F.linear_cross_entropy, chunked"
TORCH_OWN = "torch.nn.functional"  # the function that torch has for a pointwise loss
PAIRS = "fastloss, pairs"  # method="pairs"
QUARTER = "fastloss, a quarter"  # of the list: the same loss on its first m / 4 items
HALF = "fastloss, half"  # of the rows of a batch: the same loss on the first n / 2
BINARY = "fastloss, binary"  # labels; lists with other labels only
CHUNKED = "chunked eager"
RAX = "rax"
ALLRANK = "allRank"
METRIC_LEARNING = "pytorch-metric-learning"

WORKSPACE = 64 << 20  # the default of fastloss.workspace_limit, in bytes
TRIPLET_MARGIN = 0.2
KEPT_ROWS = 64  # with fewer rows of scores in the workspace, the scores are formed twice
# An item of a list in the engine: what is gathered, its label order, two sorted copies, gradients
# in double, keys that are sorted, some 150 bytes; the pair loop of a long list has 16 gradients.
ITEM_BYTES = 256
AMX = "amx_bf16"


TIME = "time"
MEMORY = "peak memory"


@dataclass(frozen=True)
class Bar:
    """`fastloss` takes at most `limit` times the time, or memory, of the side `against`.

    A bar that `needs` an instruction set is not judged on a machine without it. One with `instead`
    holds when that one does, too.
    """

    mode: str
    against: str
    limit: float
    needs: str | None = None
    of: str = TIME
    instead: Bar | None = None


@dataclass(frozen=True)
class Case:
    """One shape of one loss."""

    loss: str
    n: int
    m: int
    d: int = 0
    dtype: str = "float32"
    labels: str = ""  # LISTS: one of LABELS
    power: int = 1  # pairwise_hinge_loss
    places: int = 1  # cross_entropy: input (n, m, places), a row at every place
    similarity: str = "dot"
    temperature: float = 0.07  # clip_loss, siglip_loss: logit_scale is its inverse
    workspace: int = WORKSPACE
    device: str = "cpu"
    bars: tuple[Bar, ...] = ()
    quick: bool = False  # part of --quick
    quick_only: bool = False
    compiled: bool = False  # with torch.compile, which takes tens of seconds a case
    growth: bool = False  # a point of a curve over m: TRAIN only, and few sides unless it has bars

    @property
    def name(self) -> str:
        parts = [self.loss, "x".join(str(size) for size in (self.n, self.m, self.d) if size)]
        if self.labels:
            parts.append(self.labels)
        if self.power != 1:
            parts.append("squared")
        if self.places != 1:
            parts.append(f"{self.places}places")
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

        Three, or four where no row of scores can be kept from the forward pass. The gradient of
        batch_hard_triplet_loss takes none.
        """
        if self.loss == "batch_hard_triplet_loss":
            return 1
        return 4 if KEPT_ROWS * 4 * self.m > self.workspace else 3

    @property
    def full(self) -> bool:
        """With all sides, and their memory."""
        return not self.growth or bool(self.bars)

    @property
    def modes(self) -> tuple[str, ...]:
        return (TRAIN,) if self.growth else MODES

    @property
    def budget(self) -> float:
        """Seconds of timing a pass."""
        if self.d:
            return 10
        return 3 if self.full else 0.7

    @property
    def score_bytes(self) -> int:
        """Bytes of the float32 array that eager forms: the scores, the pairs of each list, or all
        triplets."""
        if self.loss in TRIPLETS:
            return 4 * self.n**3
        return 4 * self.n * self.m * self.places * (self.m if self.loss in ALL_PAIRS else 1)

    @property
    def operand_rows(self) -> int:
        return self.n if self.loss in ONE_SET else self.n + self.m

    @property
    def bound_bytes(self) -> int:
        """The promised bound on fastloss's peak extra memory in TRAIN.

        Workspace + float32 accumulators of both gradients + the returned gradients + O(n + m), the
        last one taken as 64 bytes a row and a key. A loss of scores has no workspace, a pointwise
        one and one of rows against rows no accumulators, and a list being worked on takes
        ITEM_BYTES an item. 4 MiB cover pages that do not grow with the problem: code touched for
        the first time, thread stacks, the matrix library's buffers.
        """
        fixed, stored = 4 << 20, 2 if self.half else 4
        if self.loss in TRIPLETS:  # rows are anchors and candidates: two accumulators
            return self.workspace + (8 + stored) * self.n * self.d + 128 * self.n + fixed
        if self.d:
            gradients = (4 + stored) * self.operand_rows * self.d
            if self.loss == "nt_xent":  # both views side by side
                gradients += stored * self.n * self.d
            return self.workspace + gradients + 64 * (self.n + self.m) + fixed
        rows = self.n * self.places
        accumulated = 0 if self.loss in (*POINTWISE, *METRIC) else 4
        operands = {"contrastive_loss": 2}.get(self.loss, 3) if self.loss in METRIC else 1
        gradients = operands * (stored + accumulated) * rows * self.m
        return gradients + 64 * rows + (ITEM_BYTES * self.m if self.loss in LISTS else 0) + fixed

    @property
    def shape(self) -> dict[str, Any]:
        """What identifies the case, apart from its bars and its place in the lists: a row's start.

        `Case(**case.shape)` is the same problem.
        """
        left_out = ["bars", "quick", "quick_only", "compiled", "growth"]
        if self.d:
            left_out += ["labels", "power", "places"]
        else:
            left_out += ["d", "similarity", "temperature", "workspace"]
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


def _one_set(loss: str, limit: float, **options: Any) -> list[Case]:
    """Rows against each other; three products are what two sets of that size take."""
    options["similarity"] = "cosine"
    sizes = (256, 512)
    cases = [Case(loss, 8192, 8192, d, bars=(Bar(TRAIN, LIMIT, limit),), **options) for d in sizes]
    return [
        Case(loss, 2048, 2048, 128, quick=True, compiled=True, **options),
        *cases,
        _half(loss, 8192, 8192, 256, "bfloat16", **options),
    ]


def _long_list(loss: str, labels: str, bars: tuple[Bar, ...], power: int = 1) -> list[Case]:
    """One list of 2⁸ … 2¹⁷ items; the bars are those of 2¹⁶."""
    point = Case(loss, 1, 1 << 16, labels=labels, power=power, bars=bars, growth=True)
    others = (replace(point, m=1 << log2, bars=()) for log2 in range(8, 18) if log2 != 16)
    return [point, *others]


GROWTH = Bar(TRAIN, QUARTER, 5)
DOUBLED = Bar(TRAIN, HALF, 5)
ONE_PASS = Bar(TRAIN, LIMIT, 1.06)
MANY = 1_000_000

FEATURE_CASES = (
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
    Case("info_nce", 128, 100_000, 64, quick=True, quick_only=True),  # the same regime, for a look
    Case("info_nce", 64, 64, 128, bars=(Bar(TRAIN, EAGER, 1.0),)),
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
        compiled=True,
    ),
    Case("clip_loss", 2048, 2048, 512, quick=True, quick_only=True),
    Case("clip_loss", 4096, 4096, 512, similarity="cosine"),
    Case("clip_loss", 8192, 8192, 512, bars=(Bar(TRAIN, LIMIT, 1.38),)),
    Case("clip_loss", 16_384, 16_384, 256),
    _half("clip_loss", 4096, 4096, 512, "bfloat16"),
    _half("clip_loss", 512, 512, 512, "bfloat16", quick=True, quick_only=True),
    _half("clip_loss", 8192, 8192, 512, "bfloat16"),
    _half("clip_loss", 4096, 4096, 512, "float16"),
    Case(
        *("linear_cross_entropy", 2048, 200_000, 128),
        bars=(Bar(TRAIN, LOOP, 0.95), Bar(TRAIN, TORCH, 0.2), Bar(TRAIN, TORCH_CHUNKED, 0.2)),
    ),
    Case("linear_cross_entropy", 2048, 32_768, 512),
    Case("linear_cross_entropy", 512, 8192, 512, quick=True, quick_only=True),
    _half("linear_cross_entropy", 2048, 32_768, 512, "bfloat16"),
    Case("siglip_loss", 4096, 4096, 512, bars=(ONE_PASS,), compiled=True),
    Case("siglip_loss", 2048, 2048, 512, quick=True, quick_only=True),
    Case("siglip_loss", 8192, 8192, 512, bars=(ONE_PASS, Bar(TRAIN, LOOP, 1.0))),
    Case("siglip_loss", 16_384, 16_384, 256),
    Case("siglip_loss", 4096, 4096, 512, similarity="cosine"),
    _half("siglip_loss", 4096, 4096, 512, "bfloat16"),
    Case("in_batch_bpr_loss", 4096, 4096, 128, bars=(Bar(TRAIN, LOOP, 1.0),)),
    Case("in_batch_bpr_loss", 2048, 2048, 128, quick=True, quick_only=True),
    Case("in_batch_bpr_loss", 8192, 8192, 512, bars=(ONE_PASS,)),
    Case("in_batch_hinge_loss", 8192, 8192, 512, bars=(ONE_PASS,)),
    Case("pairwise_logsumexp", 2048, 2048, 128, quick=True, quick_only=True),
    Case("pairwise_logsumexp", 4096, 4096, 128),
    Case("pairwise_logsumexp", 16_384, 16_384, 128),
    _half("pairwise_logsumexp", 4096, 4096, 128, "bfloat16"),
    *_one_set("nt_xent", 0.72, temperature=0.5),
    *_one_set("sup_con", 0.78),
    Case("batch_hard_triplet_loss", 2048, 2048, 128, quick=True, compiled=True),
    Case("batch_hard_triplet_loss", 8192, 8192, 128, bars=(Bar(TRAIN, LIMIT, 0.8),)),
    Case("pairwise_contrastive_loss", 2048, 2048, 128, quick=True, compiled=True),
    Case("pairwise_contrastive_loss", 8192, 8192, 128),
)

LIST_CASES = (
    Case(
        *("ranknet_loss", 256, 200),
        labels="graded",
        bars=(Bar(TRAIN, EAGER, 0.15), Bar(TRAIN, EAGER, 1 / 50, of=MEMORY)),
        quick=True,
        compiled=True,
    ),
    Case("pairwise_hinge_loss", 256, 200, labels="graded"),
    Case(
        *("listnet_loss", 1024, 200),
        labels="graded",
        bars=(Bar(TRAIN, EAGER, 0.5),),
        quick=True,
        compiled=True,
    ),
    *_long_list(
        *("ranknet_loss", "binary"),
        bars=(GROWTH, Bar(TRAIN, PAIRS, 1 / 30), Bar(TRAIN, CHUNKED, 1 / 200)),
    ),
    *_long_list("ranknet_loss", "graded", bars=(Bar(TRAIN, BINARY, 4),)),
    *_long_list("ranknet_loss", "continuous", bars=(Bar(TRAIN, BINARY, 20),)),
    *_long_list("pairwise_hinge_loss", "binary", bars=(GROWTH,)),
    *_long_list("pairwise_hinge_loss", "binary", bars=(GROWTH,), power=2),
)

ROW_CASES = (
    Case("bpr_loss", 4096, 512, bars=(Bar(TRAIN, EAGER, 0.4),), quick=True, compiled=True),
    Case("pairwise_margin_loss", 4096, 512),
    Case("sampled_softmax_loss", 4096, 512),
    Case("bpr_loss", 65_536, 4, bars=(Bar(TRAIN, EAGER, 1.0),)),
    Case("sampled_softmax_loss", 4096, 16, bars=(Bar(TRAIN, EAGER, 1.0),)),
    Case(
        *("cross_entropy", 4096, 32_768),
        bars=(Bar(TRAIN, TORCH_OWN, 0.9, instead=Bar(TRAIN, TORCH_OWN, 0.6, of=MEMORY)),),
        compiled=True,
    ),
    Case("cross_entropy", 1024, 16_384, quick=True, quick_only=True),
    Case("cross_entropy", 4096, 32_768, dtype="bfloat16"),
    Case("cross_entropy", 4096, 100, bars=(Bar(TRAIN, TORCH_OWN, 1.0),), quick=True),
    Case("cross_entropy", 8, 21, places=4096, bars=(Bar(TRAIN, TORCH_OWN, 1.0),)),
    Case("kl_div_with_logits", 4096, 8192),
    Case("binary_cross_entropy_with_logits", 4096, 1024),
    Case("binary_cross_entropy", 4096, 1024),
    Case("hinge_loss", 4096, 1024),
)

METRIC_CASES = (
    Case(
        *("triplet_margin_loss", 65_536, 128),
        bars=(Bar(TRAIN, TORCH_OWN, 0.5),),
        quick=True,
        compiled=True,
    ),
    Case("triplet_margin_loss", 1024, 128),
    Case("triplet_margin_loss", 65_536, 128, dtype="bfloat16"),
    Case("labelled_triplet_loss", 65_536, 128),
    Case("contrastive_loss", 65_536, 128),
)

TRIPLET_CASES = (
    Case(
        *("batch_all_triplet_loss", 1024, 64, 128),
        bars=(Bar(TRAIN, METRIC_LEARNING, 0.02),),
    ),
    Case("batch_all_triplet_loss", 256, 16, 128, quick=True, quick_only=True),
    Case("batch_all_triplet_loss", 4096, 64, 128, bars=(DOUBLED,)),
    Case("batch_all_triplet_loss", 8192, 64, 128, bars=(DOUBLED,)),
    Case("semi_hard_triplet_loss", 1024, 64, 128),
    Case("semi_hard_triplet_loss", 8192, 64, 128),
)
CASES = (*FEATURE_CASES, *TRIPLET_CASES, *LIST_CASES, *ROW_CASES, *METRIC_CASES)

IMPORT_CASE = "import fastloss"
IMPORT_BAR = 0.050  # seconds on top of importing torch


def grid(
    losses: Sequence[str],
    n: Sequence[int],
    m: Sequence[int] | None,
    d: Sequence[int],
    dtypes: Sequence[str],
    labels: Sequence[str] = ("graded",),
) -> list[Case]:
    """Every combination that makes sense: clip_loss has m = n, MORE_KEYS m ≥ n. `m` None: m = n.

    A loss of scores has no d, and lists alone have labels.
    """
    cases = []
    for loss, rows, dtype in itertools.product(losses, n, dtypes):
        for keys in m or [rows]:
            if loss in LISTS:
                cases += [Case(loss, rows, keys, dtype=dtype, labels=kind) for kind in labels]
            elif loss in TRIPLETS:
                cases += [Case(loss, rows, keys, features, dtype=dtype) for features in d]
            elif loss not in FEATURES:
                cases.append(Case(loss, rows, keys, dtype=dtype))
            elif keys == rows or loss in ANY_KEYS or (loss in MORE_KEYS and keys > rows):
                cases += [Case(loss, rows, keys, features, dtype=dtype) for features in d]
    return cases
