"""Are compiled kernels free of races? What sentryward says of each, on launches of the emulator.

    python tests/cuda_races.py [--all] [part of a kernel's name …]

sentryward (PyPI) reads the PTX of compute capability 10.0 and a launch, and proves that in every
schedule barriers agree and conflicting accesses are ordered. Launches come from the programs in
tests/emulator/programs, which write down what they launch (launches.h); so every kernel is analysed
at a size at which it was executed. Needs nvcc, g++ and the packages of the extra "cuda".

A branch on data it cannot decide. Such kernels are analysed once more with each of these branches
taken one way: "race_free, branches assumed" is less than race_free, and another answer then says
nothing. What is unsupported is no pass, but listed; where "barriers agree" stands beside it, the
first half of the proof is complete, and accesses to memory are undecided.

Kernels are templates over losses and types, whose accesses are the same: one of each template is
analysed, all of them with --all.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cuda_binaries
from cuda_binaries import ROOT, WORKERS, run
from emulator import build as emulator

ARCHITECTURE = 100
SECONDS = 300  # for one analysis of a kernel
# Of branches on data: fall through, and execute guarded instructions; so many turns of loops.
ASSUMED = {"representative_branches": True, "bounded_computation_loops": True}
ASSUMED_FREE = "race_free, branches assumed"
UNDECIDED, UNDECIDED_MEMORY = "unsupported", "unsupported, barriers agree"
FINDINGS = ("not_wellsynced", "potential_race", "invalid_lifecycle")
BLOCKS = (4, 16)  # of a launch: enough to meet each other, few enough to be analysed


class Launch(NamedTuple):
    grid: tuple[int, int]
    threads: int
    parameters: tuple[bytes, ...]

    @property
    def preference(self):
        """With the most arrays, since of a null pointer sentryward knows no allocation; then small
        launches first, but of several blocks."""
        arrays = sum(is_address(value) for data in self.parameters for _, value in words(data))
        blocks = self.grid[0] * self.grid[1]
        return (-arrays, not BLOCKS[0] <= blocks <= BLOCKS[1], abs(blocks - BLOCKS[0]))


class Verdict(NamedTuple):
    kernel: str
    result: str  # race_free, or a finding, or why there is none
    detail: str


def missing() -> str:
    if importlib.util.find_spec("sentryward") is None:
        return "the packages of the extra 'cuda' are not installed"
    return cuda_binaries.missing()


# ------------------------------------------------------------------------------------- launches


def launches(programs: Iterable[Path], folder: Path) -> dict[str, Launch]:
    """The launch to analyse of every kernel that the programs start, by its mangled name."""
    found: dict[str, Launch] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        for of_program in pool.map(lambda p: recorded(p, folder), programs):
            for name, launch in of_program:
                if name not in found or launch.preference < found[name].preference:
                    found[name] = launch
    return found


def recorded(program: Path, folder: Path) -> list[tuple[str, Launch]]:
    """Run a program of the emulator, which writes down its launches."""
    build = emulator.BUILDS["plain"]
    binary, notes = emulator.executable(program, build), folder / f"{program.stem}.launches"
    result = emulator.run(binary, build, FASTLOSS_LAUNCHES=str(notes))
    if result.returncode not in (0, emulator.SKIPPED):
        raise RuntimeError(f"{program.name}: {result.stdout}{result.stderr}")
    names = emulator.names_by_place(binary)
    found = []
    for line in notes.read_text(encoding="utf-8").splitlines() if notes.exists() else ():
        place, x, y, threads, *parameters = line.split(" ")
        launch = Launch((int(x), int(y)), int(threads), tuple(map(bytes.fromhex, parameters)))
        found.append((names[int(place)], launch))
    return found


# ------------------------------------------------------------------------------------------ PTX


def entries(source: Path, folder: Path) -> dict[str, str]:
    """The PTX of each kernel of a file, as a file of its own would have it."""
    ptx = folder / f"{source.stem}.ptx"
    run(
        *(cuda_binaries.toolkit().nvcc, "-ptx", f"-arch=compute_{ARCHITECTURE}"),
        *(*cuda_binaries.flags(), "-I", ROOT / "csrc", source, "-o", ptx),
    )
    return split(ptx.read_text(encoding="utf-8"))


def split(ptx: str) -> dict[str, str]:
    """What no kernel owns (the head, functions, constants) goes with each of them."""
    pieces = re.split(r"^(?=(?:\.visible |\.weak )*\.(?:entry|func)\b)", ptx, flags=re.M)
    shared, kernels = [pieces[0]], {}
    for piece in pieces[1:]:
        entry = re.match(r"(?:\.visible |\.weak )*\.entry (\w+)", piece)
        body, rest = after_body(piece)
        shared.append(rest if entry else body + rest)
        if entry:
            kernels[entry.group(1)] = body
    head = "".join(shared)
    return {name: head + body for name, body in kernels.items()}


def after_body(piece: str) -> tuple[str, str]:
    end = piece.find("\n}\n")
    return (piece, "") if end < 0 else (piece[: end + 3], piece[end + 3 :])


def parameter_types(ptx: str, kernel: str) -> list[tuple[str, str]]:
    """Name and type of each parameter; "" is the type of a struct."""
    head = ptx[ptx.index(f".entry {kernel}(") :]
    head = head[: head.index("\n)")]
    found = []
    for line in re.findall(r"\.param ([^\n]+)", head):
        name = re.search(rf"({re.escape(kernel)}_param_\d+)", line).group(1)
        kind = re.search(r"\.([usfb]\d+)\b", line).group(1)
        found.append((name, "" if "[" in line else kind))
    return found


# ------------------------------------------------------------------------------------- analysis


def analyse(kernel: str, ptx: str, launch: Launch, folder: Path) -> Verdict:
    """Ask sentryward; if branches on data are in its way, under assumptions."""
    verdict = answered(kernel, ptx, launch, folder, {})
    if verdict.result != UNDECIDED or "control_predicate" not in verdict.detail:
        return verdict
    assumed = answered(kernel, ptx, launch, folder, ASSUMED)
    if assumed.result == "race_free":
        return assumed._replace(result=ASSUMED_FREE)
    return verdict._replace(detail=f"{verdict.detail}; branches assumed: {assumed.result}")


def answered(
    kernel: str, ptx: str, launch: Launch, folder: Path, assumed: dict[str, bool]
) -> Verdict:
    """Pointers are declared, each to memory of its own; numbers are told when sentryward asks."""
    from sentryward import verify

    path, config = folder / f"{kernel[-150:]}.ptx", folder / f"{kernel[-150:]}.json"
    path.write_text(ptx, encoding="utf-8")
    declared = parameter_types(ptx, kernel)
    values = {name: data for (name, _), data in zip(declared, launch.parameters, strict=True)}
    types = dict(declared)

    def place(name, offset):
        return {"parameter": name} | ({} if types[name] else {"offset": offset})

    pointers = {
        (name, offset): place(name, offset) | {"type": "pointer"}
        for name, data in values.items()
        for offset, value in words(data)
        if is_address(value)
    }
    given: dict[tuple[str, int], dict] = {}
    while True:
        description = {
            "schema": "spverify.kernel-input/v1",
            "entry": kernel,
            "launch": {"grid_dim": [*launch.grid, 1], "block_dim": [launch.threads, 1, 1]},
            "arguments": list(given.values()),
            "declarations": list(pointers.values()),
            "assumptions": assumed,
        }
        if assumed:
            description["data_branch_loop_iterations"] = 2
        config.write_text(json.dumps(description), encoding="utf-8")
        answer = verify(path, input=config, timeout_seconds=SECONDS, memory_limit_mib=4096)
        wanted = [
            (one["parameter"], one["offset"], one["bytes"])
            for one in answer.get("details", {}).get("required_parameters", [])
        ]
        fresh = [one for one in wanted if one[:2] not in given.keys() | pointers.keys()]
        if not fresh:
            result = answer["result"]
            if result == UNDECIDED and answer["checks"]["synchronization"] == "passed":
                result = UNDECIDED_MEMORY
            return Verdict(kernel, result, explained(answer))
        for name, offset, size in fresh:
            data = values[name][offset : offset + size]
            value = int.from_bytes(data, "little", signed=types[name].startswith("s"))
            kind = types[name] or f"u{8 * size}"
            given[name, offset] = place(name, offset) | {"type": kind, "value": value}


def words(data: bytes) -> list[tuple[int, int]]:
    """The 64-bit numbers in a parameter, by their offsets."""
    offsets = range(0, len(data) - 7, 8)
    return [(offset, int.from_bytes(data[offset : offset + 8], "little")) for offset in offsets]


def is_address(value: int) -> bool:
    """Of this process: sizes are smaller, and bits of doubles larger."""
    return 1 << 32 <= value < 1 << 48


def explained(answer: dict) -> str:
    notes = []
    for one in answer.get("diagnostics", [])[:2]:
        where = one.get("details", {}).get("location", {})
        line = f" (PTX line {where['line']})" if "line" in where else ""
        notes.append(f"{one.get('code')}: {one.get('message', '')}{line}")
    return "; ".join(notes)


def template(name: str) -> str:
    """A readable name without its arguments, but for numbers: other threads, other accesses."""
    numbers = re.match(r"\w+<((?:\d+, )*)", name)
    return f"{name.partition('<')[0]}<{numbers.group(1) if numbers else ''}"


def verdicts(
    chosen: Iterable[str] = (), every: bool = False, sources=cuda_binaries.SOURCES
) -> list[Verdict]:
    """One verdict a template of a kernel, or a kernel (`every`); of those whose readable name has a
    chosen part, or of all."""
    chosen = tuple(chosen)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(WORKERS) as pool:
        folder = Path(name)
        programs = [p for p in emulator.sources() if p.stem != "faults"]
        started = launches(programs, folder)
        kernels: dict[str, tuple[str, str]] = {}  # readable name → mangled name, PTX
        for of_file in pool.map(lambda source: entries(source, folder), sources):
            for kernel, ptx in of_file.items():
                kernels.setdefault(cuda_binaries.readable(kernel), (kernel, ptx))
        jobs, found, seen = [], [], set()
        # Those that were launched first, to stand for their template.
        for shown in sorted(kernels, key=lambda shown: (kernels[shown][0] not in started, shown)):
            kernel, ptx = kernels[shown]
            if chosen and not any(part in shown for part in chosen):
                continue
            if not every and template(shown) in seen:
                continue
            seen.add(template(shown))
            if kernel in started:
                jobs.append(pool.submit(analyse, kernel, ptx, started[kernel], folder))
            else:
                found.append(Verdict(kernel, "not_launched", "no program starts it"))
        found += [job.result() for job in jobs]
    return sorted(v._replace(kernel=cuda_binaries.readable(v.kernel)) for v in found)


def main(arguments: list[str]) -> int:
    chosen = [argument for argument in arguments if argument != "--all"]
    found = verdicts(chosen, every="--all" in arguments)
    for verdict in found:
        print(f"{verdict.result:<28} {verdict.kernel}  {verdict.detail}")
    return any(verdict.result in FINDINGS for verdict in found)


if __name__ == "__main__":
    if problem := missing():
        sys.exit(f"cuda_races: {problem}")
    sys.exit(main(sys.argv[1:]))
