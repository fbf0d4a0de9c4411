"""Would the emulator see a bug? Plant each of MUTANTS in a copy of the kernels and run the probes.

    python tests/emulator/mutants.py [--all] [part of a name …]

Prints which layer caught which bug: `plain` is a wrong value, a thread that waits for ever or
memory read before it is written, `address` an access out of range, `thread` a race. Fails if a bug
survives, or if a probe fails without one. A probe (probes/) is a program of programs/ with fewer
losses and types; --all runs every layer instead of stopping at the first that catches.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))
from emulator import build as emulator

ROOT = Path(__file__).parents[2]
WORKERS = min(os.cpu_count() or 1, 4)
SECONDS = 400  # for one run

_QUICK = ("-O1", "-g0", "-w")
LAYERS = {
    "plain": emulator.Build("plain", _QUICK, ("-O2", "-w")),
    "address": emulator.BUILDS["address"],
    "thread": emulator.BUILDS["thread"],
}


class Mutant(NamedTuple):
    """The old text occurs exactly once in its file. `probes` are tried one after the other."""

    name: str
    file: str
    old: str
    new: str
    probes: tuple[str, ...]
    layers: tuple[str, ...] = ("plain", "address", "thread")


RACE = ("thread", "plain")  # likely enough to be tried first
TILE, LAYOUT = "mma_tile.cuh", "mma_layout.h"
STATES, SCORES = "mma_states.cuh", "mma_scores.cuh"
REDUCE, OPERANDS = "reduce.cuh", "operands_kernels.cuh"
ROWS, COEFFICIENTS = "pairwise_scores.cuh", "pairwise_coefficients.cuh"
SELF, SELF_GRADIENT = "self_states.cuh", "self_gradient.cuh"
MMA = ("mma_pairwise",)
SOFTMAX, CLIP, ONE_SET = ("pairwise_softmax",), ("pairwise_symmetric",), ("self_nt_xent",)

MUTANTS = (
    Mutant(
        "a step's barrier is missing",
        TILE,
        "    device::wait_copies<kStages - 2>();\n    device::barrier();\n",
        "    device::wait_copies<kStages - 2>();\n",
        MMA,
        RACE,
    ),
    Mutant(
        "the barrier behind the last step is missing",
        TILE,
        "  }\n  device::barrier();\n}\n",
        "  }\n}\n",
        MMA,
        RACE,
    ),
    Mutant(
        "one group of copies too few is waited for",
        TILE,
        "device::wait_copies<kStages - 2>();",
        "device::wait_copies<kStages - 1>();",
        MMA,
    ),
    Mutant(
        "empty groups are not committed",
        TILE,
        "    device::commit_copies();\n    multiply_stage",
        "    if (step + kStages - 1 < steps) device::commit_copies();\n    multiply_stage",
        MMA,
    ),
    Mutant(
        "the next buffer is one too early",
        TILE,
        "int now = 0, next = kStages - 1;",
        "int now = 0, next = kStages - 2;",
        MMA,
    ),
    Mutant(
        "one row past the last is copied",
        TILE,
        "inside_[i] = from < rows.count;",
        "inside_[i] = from <= rows.count;",
        MMA,
        ("address", "plain"),
    ),
    Mutant(
        "features past the last are copied",
        TILE,
        "left_ < 0 ? 0 : left_ < kChunk ? left_ : kChunk;",
        "left_ < 0 ? 0 : kChunk;",
        MMA,
    ),
    Mutant(
        "ldmatrix: rows of another lane",
        LAYOUT,
        "query_row(int lane) { return lane % 16; }",
        "query_row(int lane) { return lane / 2; }",
        MMA,
    ),
    Mutant(
        "ldmatrix: keys' matrices in the queries' order",
        LAYOUT,
        "key_row(int lane) { return lane % 8 + lane / 16 * 8; }",
        "key_row(int lane) { return lane % 16; }",
        MMA,
    ),
    Mutant(
        "accumulators: another lane's column",
        LAYOUT,
        "accumulator_column(int lane) { return lane % 4 * 2; }",
        "accumulator_column(int lane) { return (lane + 1) % 4 * 2; }",
        MMA,
    ),
    Mutant(
        "ldmatrix reads conflict",
        LAYOUT,
        "((chunk ^ (row >> 1 & 3)) * kChunk)",
        "((chunk ^ (row >> 2 & 3)) * kChunk)",
        ("mma_layout",),
        ("plain",),
    ),
    Mutant(
        "scores of a column conflict",
        LAYOUT,
        "const int turn = row % 4 * 2 + row / 4 % 2;",
        "const int turn = row % 4 * 2;",
        ("mma_layout",),
        ("plain",),
    ),
    Mutant(
        "scores are read before all are there",
        STATES,
        "    scores.put(acc);\n    device::barrier();\n",
        "    scores.put(acc);\n",
        MMA,
        RACE,
    ),
    Mutant(
        "rows and columns of tiles exchanged where partial states go",
        STATES,
        "row_states[(device::block().y * device::blocks().x + device::block().x) * kTile +",
        "row_states[(device::block().x * device::blocks().y + device::block().y) * kTile +",
        MMA,
    ),
    Mutant(
        "a part of the row is not merged",
        STATES,
        "slots.merged(t, kHalf, kRowParts)",
        "slots.merged(t, kHalf, kRowParts - 1)",
        MMA,
    ),
    Mutant(
        "the diagonal's tiles are left out",
        STATES,
        "if (tiles.upper && column_tile < row_tile) return;",
        "if (tiles.upper && column_tile <= row_tile) return;",
        ("mma_self",),
    ),
    Mutant(
        "the second run of partial states is not merged",
        STATES,
        "for (int run = 1; run < kRuns; ++run)",
        "for (int run = 2; run < kRuns; ++run)",
        MMA,
    ),
    Mutant(
        "the last column of a ragged tile is masked",
        SCORES,
        "const int64_t left = products_.key.count - column;",
        "const int64_t left = products_.key.count - column - 1;",
        MMA,
    ),
    Mutant(
        "half of a warp is not merged",
        REDUCE,
        "  for (int delta = kWarp / 2; delta > 0; delta /= 2) {",
        "  for (int delta = kWarp / 4; delta > 0; delta /= 2) {",
        SOFTMAX,
    ),
    Mutant(
        "warps are merged before they have written",
        REDUCE,
        "  if (lane() == 0) shared[warp()] = state;\n  barrier();\n",
        "  if (lane() == 0) shared[warp()] = state;\n",
        SOFTMAX,
        ("plain", "thread"),
    ),
    Mutant(
        "one warp is not merged",
        REDUCE,
        "for (int w = 1; w < warps; ++w) state.merge(shared[w]);",
        "for (int w = 2; w < warps; ++w) state.merge(shared[w]);",
        SOFTMAX,
    ),
    Mutant(
        "one column past the last is a score",
        ROWS,
        "const bool inside = c + j < chunk.cols;",
        "const bool inside = c + j <= chunk.cols;",
        SOFTMAX,
    ),
    Mutant(
        "the last part of a row is not merged",
        ROWS,
        "for (int64_t p = 0; p < parts; ++p) sum.merge(partial[p * count + i]);",
        "for (int64_t p = 0; p + 1 < parts; ++p) sum.merge(partial[p * count + i]);",
        (*SOFTMAX, *CLIP),
    ),
    Mutant(
        "column states: a block writes into its neighbour's",
        ROWS,
        "if (c + j < chunk.cols) partial[block().y * chunk.cols + c + j] = states[j];",
        "partial[block().y * chunk.cols + c + j] = states[j];",
        CLIP,
        ("address", "thread", "plain"),
    ),
    Mutant(
        "columns as rows: the first row of a group counts twice",
        ROWS,
        "turned[j][k] = z[j];",
        "turned[j][k] = k == 1 ? turned[j][0] : z[j];",
        CLIP,
    ),
    Mutant(
        "16-bit coefficients overwrite scores that are still to be read",
        COEFFICIENTS,
        "        warp_barrier();\n      } else {\n        barrier();\n",
        "      } else {\n",
        SOFTMAX,
        RACE,
    ),
    Mutant(
        "16-bit coefficients without their unit",
        COEFFICIENTS,
        "round_to<W>(derived.w[j] * unit.get());",
        "round_to<W>(derived.w[j]);",
        SOFTMAX,
    ),
    Mutant(
        "a statistic is missing in a coefficient",
        COEFFICIENTS,
        "z[j], own * others[j], out.dscore[j]);",
        "z[j], others[j], out.dscore[j]);",
        SOFTMAX,
    ),
    Mutant(
        "a gradient without its row's length",
        OPERANDS,
        "      factor *= side.magnitude[i];\n",
        "",
        SOFTMAX,
    ),
    Mutant(
        "an inverse norm once instead of twice",
        OPERANDS,
        "along *= inverse * inverse;",
        "along *= inverse;",
        SOFTMAX,
    ),
    Mutant(
        "rows are counted as columns",
        SELF,
        "of_cols[rows * tile.cols + c] = of_col;",
        "of_cols[rows * tile.rows + c] = of_col;",
        ONE_SET,
    ),
    Mutant(
        "half of a column is not merged",
        SELF,
        "        of_col.merge(halves[line]);\n",
        "",
        ONE_SET,
    ),
    Mutant(
        "a square is overwritten while it is read",
        SELF,
        "    } else {\n      barrier();\n    }\n",
        "    }\n",
        ONE_SET,
        RACE,
    ),
    Mutant(
        "coefficients of other warps' columns are not waited for",
        SELF_GRADIENT,
        "    store_span(sums + warp() * kSelfStrip + lane() * kSpan, col_sums);\n    barrier();\n",
        "    store_span(sums + warp() * kSelfStrip + lane() * kSpan, col_sums);\n",
        ONE_SET,
        ("plain", "thread"),
    ),
    Mutant(
        "tiles without pairs are not cleared",
        SELF_GRADIENT,
        "      store_span(out + r * tile.stride + c, none);\n",
        "",
        ONE_SET,
    ),
)


class Tree:
    """A copy of the kernels and of the emulator, in which one bug at a time is planted."""

    def __init__(self, folder: Path):
        self.folder = folder
        for part in ("csrc", "tests/emulator"):
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )

    def source(self, probe: str) -> Path:
        folders = [self.folder / "tests" / "emulator" / name for name in ("probes", "programs")]
        return next(
            path for path in (folder / f"{probe}.cpp" for folder in folders) if path.exists()
        )

    def failure(self, probe: str, layer: str) -> str:
        """What a probe reports in a layer, in a line; "" if nothing."""
        build = LAYERS[layer]
        try:
            program = emulator.executable(self.source(probe), build, self.folder)
            result = emulator.run(program, build, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return "it does not end"
        except RuntimeError as error:
            raise RuntimeError(f"{probe}: does not compile: {error}") from error
        if result.returncode == 0:
            return ""
        lines = [line.strip() for line in (result.stdout + result.stderr).splitlines()]
        telling = (
            "WARNING: ThreadSanitizer", "ERROR: AddressSanitizer", "runtime error", "what():"
        )  # fmt: skip
        for line in lines:
            if any(text in line for text in telling):
                return line
        return next((line for line in lines if line), f"exit code {result.returncode}")

    def caught(self, mutant: Mutant, every: bool) -> list[tuple[str, str, str]]:
        """(layer, probe, report) of the layers that see the bug; one is enough unless `every`."""
        path = self.folder / "csrc" / "cuda" / mutant.file
        clean = path.read_text(encoding="utf-8")
        path.write_text(planted(mutant, clean), encoding="utf-8")
        found = []
        try:
            for layer in LAYERS if every else mutant.layers:
                for probe in mutant.probes:
                    if report := self.failure(probe, layer):
                        found.append((layer, probe, report))
                        if not every:
                            return found
                        break
        finally:
            path.write_text(clean, encoding="utf-8")
        return found


def planted(mutant: Mutant, text: str) -> str:
    """The file's text with the bug in it."""
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(
            f"{mutant.name}: its text is {count} times in csrc/cuda/{mutant.file}, not once: "
            "the table is stale"
        )
    return text.replace(mutant.old, mutant.new)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="run every layer")
    parser.add_argument("names", nargs="*", help="parts of names")
    options = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not options.names or any(n in m.name for n in options.names)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(WORKERS) as pool:
        trees: Queue[Tree] = Queue()
        for worker in range(WORKERS):
            trees.put(Tree(Path(name) / str(worker)))

        def with_tree(work):
            tree = trees.get()
            try:
                return work(tree)
            finally:
                trees.put(tree)

        probes = {(p, layer) for m in chosen for p in m.probes for layer in m.layers}
        clean = pool.map(
            lambda job: (job, with_tree(lambda tree: tree.failure(*job))), sorted(probes)
        )
        broken = [f"{probe} ({layer}): {report}" for (probe, layer), report in clean if report]
        if broken:
            print("Without a bug, these fail:\n  " + "\n  ".join(broken))
            return 1
        survivors = 0
        jobs = pool.map(lambda m: with_tree(lambda tree: tree.caught(m, options.all)), chosen)
        for mutant, found in zip(chosen, jobs, strict=True):
            survivors += not found
            print(f"{mutant.file}: {mutant.name}")
            for layer, probe, report in found or [("SURVIVED", "", "")]:
                print(f"    {layer:<8} {probe:<20} {report[:100]}", flush=True)
    minutes = (time.monotonic() - started) / 60
    print(f"{len(chosen)} bugs, {survivors} survived, {minutes:.1f} minutes")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
