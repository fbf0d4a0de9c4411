"""Lines of the CUDA sources that the emulated programs run, by gcov.

    python tests/emulator/coverage.py [program ...]

prints the share of each file of csrc/cuda and the lines that nothing ran. Without arguments all
programs count, and a file below the bound is an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))
from emulator import build as emulator

BOUND = 95
UNIT = emulator.BUILDS["coverage"]
KERNELS = emulator.ROOT / "csrc/cuda"


def run(source: Path, **environment: str) -> str:
    """What a program printed; the lines it ran are added to those of earlier runs."""
    program = emulator.executable(source, UNIT)
    if not counted(program):
        program.with_suffix(".gcda").unlink(missing_ok=True)
    result = emulator.run(program, UNIT, **environment)
    if result.returncode not in (0, emulator.SKIPPED):
        program.with_suffix(".gcda").unlink(missing_ok=True)
        raise RuntimeError(f"{source.name}\n{result.stdout}{result.stderr}")
    return result.stdout


def counted(program: Path) -> bool:
    """Whether it has run since it was made."""
    data = program.with_suffix(".gcda")
    return data.exists() and data.stat().st_mtime_ns > program.stat().st_mtime_ns


def counts(source: Path) -> dict[Path, dict[int, int]]:
    """How often each line ran, by file, in one program."""
    program = emulator.executable(source, UNIT)
    if not counted(program):
        run(source)
    data = program.with_suffix(".gcda")
    gcov = [os.environ.get("GCOV", "gcov"), "--json-format", "--stdout", str(data)]
    report = json.loads(subprocess.run(gcov, capture_output=True, check=True).stdout)
    lines: dict[Path, dict[int, int]] = {}
    for file in report["files"]:
        path = (emulator.ROOT / file["file"]).resolve()
        if path.parent == KERNELS:
            ran = lines.setdefault(path, defaultdict(int))
            for line in file["lines"]:
                ran[line["line_number"]] += line["count"]
    return lines


def collect(sources: list[Path]) -> dict[Path, dict[int, int]]:
    total: dict[Path, dict[int, int]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for lines in pool.map(counts, sources):
            for path, ran in lines.items():
                merged = total.setdefault(path, defaultdict(int))
                for line, count in ran.items():
                    merged[line] += count
    return total


def ranges(lines: list[int]) -> str:
    """1, 2, 3, 7 as 1-3, 7."""
    parts: list[list[int]] = []
    for line in lines:
        if parts and line == parts[-1][1] + 1:
            parts[-1][1] = line
        else:
            parts.append([line, line])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def unseen(seen: set[Path]) -> list[Path]:
    """Files with kernels that no program includes."""
    files = sorted([*KERNELS.glob("*.cuh"), *KERNELS.glob("*.cu")])
    return [file for file in files if file not in seen and "FASTLOSS_KERNEL" in file.read_text()]


def main(names: list[str]) -> int:
    sources = [
        source
        for source in emulator.sources()
        if source.stem in names or (not names and source.stem != "faults")
    ]
    total = collect(sources)
    low = []
    for path, ran in sorted(total.items()):
        missing = sorted(line for line, count in ran.items() if not count)
        share = 100 * (1 - len(missing) / len(ran))
        print(f"{path.name:32} {share:5.1f} % of {len(ran):4}   {ranges(missing)}")
        if share < BOUND:
            low.append(path.name)
    sizes = sum(len(ran) for ran in total.values())
    hits = sum(count > 0 for ran in total.values() for count in ran.values())
    print(f"{'all':32} {100 * hits / max(sizes, 1):5.1f} % of {sizes:4}")
    if names:
        return 0
    for path in unseen(total.keys()):
        print(f"{path.name}: in no program")
        low.append(path.name)
    if low:
        print(f"below {BOUND} %: {', '.join(low)}")
    return bool(low)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
