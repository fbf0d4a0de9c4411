"""What a GPU needs at least for the pairwise losses: `python -m fastloss_benchmarks.roofline`.

Prints the table of docs/cuda.md. Products run at the peak of the tensor cores and memory at its own
peak, one after the other, because products and the kernels between them are separate. Nothing of it
is measured: a GPU may be slower than its bound, never faster.

Of one n × m score, the library path moves, in bytes of float32 (w in the operands' 16 bits):

    product writes 4 · states of rows read 4 · states of columns read 4
    derivative reads 4 and writes 2 · two gradient products read 2 each

A chunk that is at most half of the second-level cache costs nothing here. A gradient that is added
to is read and written, 8 bytes a number, for every chunk of the other side.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    name: str
    flops: float  # dense bfloat16 products with float32 sums, a second
    bandwidth: float  # bytes a second
    cache: int  # bytes, second level


GPUS = (
    Gpu("A100 80 GB", 312e12, 2.04e12, 40 * MIB),
    Gpu("H100 SXM", 989e12, 3.35e12, 50 * MIB),
)


@dataclass(frozen=True)
class Loss:
    """`once`: bytes a score in chunks of the workspace's size; passes in chunks of the cache's size
    are free. `products` and bytes are of all n · m scores: of one set, half of them exist."""

    name: str
    products: float
    once: float
    complete_rows: bool = False  # chunks hold complete rows: each adds to the whole key gradient
    gradients: bool = True


FORWARD = Loss("any, forward alone", 1, 0, gradients=False)
LOSSES = (
    FORWARD,
    Loss("info_nce, linear_cross_entropy", 3, 4 + 4 + 4 + 2 + 2 + 2, complete_rows=True),
    Loss("the same, reduction none", 4, 4 + 4 + 2 + 2 + 2),
    Loss("clip_loss", 4, 4 + 4 + 2 + 2 + 2),
    Loss("siglip_loss, in_batch_*", 3, 4 + 4 + 2 + 2 + 2),
    Loss("nt_xent, sup_con", 2, 0),
    Loss("pairwise_contrastive_loss", 1.5, 0),
    Loss("batch_hard_triplet_loss", 0.5, 0, gradients=False),
)
CUT_ROWS = 1024  # of a chunk whose columns are cut


def flops(loss: Loss, n: int, m: int, d: int) -> float:
    return loss.products * 2 * n * m * d


def bytes_moved(loss: Loss, n: int, m: int, d: int, workspace: int) -> float:
    """Operands once, scores as often as they leave the cache, gradients as often as added to."""
    operands = 2 * (n + m) * d
    if not loss.gradients or loss.once == 0:
        return operands + (4 * (n + m) * d if loss.gradients else 0)
    scores = workspace // 4  # in a chunk
    rows = min(n, scores // m if loss.complete_rows else max(CUT_ROWS, scores // m))
    cols = min(m, scores // rows)
    # Chunks go down the rows of a run of columns: of the key gradient, that run is added to by
    # every chunk; the query gradient by every run.
    key = 8 * m * d * (n / rows)
    query = 8 * n * d * (m / cols)
    return operands + loss.once * n * m + key + query


def seconds(loss: Loss, gpu: Gpu, n: int, m: int, d: int, workspace: int) -> tuple[float, float]:
    """Of the products alone, and with the memory traffic."""
    products = flops(loss, n, m, d) / gpu.flops
    return products, products + bytes_moved(loss, n, m, d, workspace) / gpu.bandwidth


def table(n: int = 65_536, d: int = 512, workspaces: tuple[int, int] = (64, 1024)) -> str:
    """Markdown, milliseconds at n = m."""
    small, large = workspaces
    head = ["loss, bfloat16", "products", "GB moved"]
    head += [f"{gpu.name}: products" for gpu in GPUS] + [f"{gpu.name}: bound" for gpu in GPUS]
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for loss in LOSSES:
        moved = [bytes_moved(loss, n, n, d, size * MIB) / 1e9 for size in (small, large)]
        times = [[seconds(loss, gpu, n, n, d, s * MIB) for s in (small, large)] for gpu in GPUS]
        cells = [loss.name, f"{loss.products:g} G", _pair(*moved)]
        cells += [f"{1e3 * of_gpu[0][0]:.1f}" for of_gpu in times]
        cells += [_pair(*(1e3 * bound for _, bound in of_gpu)) for of_gpu in times]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _pair(small: float, large: float) -> str:
    first, second = (f"{value:.1f}" for value in (small, large))
    return first if first == second else f"{first} / {second}"


if __name__ == "__main__":
    print(table())
