"""Programs that run CUDA kernels on the CPU: compiled when something they include changed, and run.

Each .cpp under programs/ is one executable, made in up to four builds: `plain`; `address`, with the
address and undefined-behaviour sanitizers; `thread`, with the race detector; `coverage`.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNTIME = ("emulator.cpp", "fiber.cpp")
SKIPPED = 77  # a program's exit code when something it needs is not installed


@dataclass(frozen=True)
class Build:
    """`runtime_flags` compile the emulator, `flags` what runs on it."""

    name: str
    flags: tuple[str, ...]
    runtime_flags: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


_WARNINGS = ("-Wall", "-Wextra", "-Werror")
# The checks left out say nothing that the others do not, and take half of the compiler's time.
_ADDRESS = (
    "-Og", "-g1", "-fsanitize=address,undefined", "-fno-sanitize=null,object-size,vptr",
    "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-w",
)  # fmt: skip

BUILDS = {
    build.name: build
    for build in (
        Build("plain", ("-O1", *_WARNINGS), ("-O2", *_WARNINGS)),
        Build("address", _ADDRESS, _ADDRESS, {"UBSAN_OPTIONS": "print_stacktrace=1"}),
        # The race detector must not watch the scheduler: it would see an order that no GPU has.
        Build(
            "thread",
            ("-O1", "-g1", "-fsanitize=thread", "-w"),
            ("-O2", "-g1", "-DFASTLOSS_RACE_DETECTOR"),
            {"TSAN_OPTIONS": "halt_on_error=1"},
        ),
        Build("coverage", ("-O0", "--coverage", *_WARNINGS), ("-O2", *_WARNINGS)),
    )
}  # fmt: skip


def compiler() -> list[str]:
    return os.environ.get("CXX", "g++").split()


def toolkit() -> Path | None:
    """The include directory of the CUDA toolkit, where there is one."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    if nvcc := shutil.which("nvcc"):
        homes.append(str(Path(nvcc).resolve().parents[1]))
    includes = [Path(home) / "include" for home in homes if home]
    return next((path for path in includes if (path / "cuda_bf16.h").exists()), None)


def sources(root: Path = ROOT) -> list[Path]:
    return sorted((root / "tests/emulator/programs").glob("*.cpp"))


def executable(source: Path, build: Build, root: Path = ROOT) -> Path:
    """The program of a source file, compiled unless it is up to date."""
    directory = root / "build/emulator" / build.name
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:  # of the runtime: programs are built side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        objects = [
            _compiled(root / "tests/emulator" / name, directory, build.runtime_flags, root)
            for name in RUNTIME
        ]
    target = directory / source.stem
    with (directory / f"{source.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = _compiled(source, directory, build.flags, root)
        newest = max(path.stat().st_mtime_ns for path in (program, *objects))
        if not target.exists() or target.stat().st_mtime_ns < newest:
            links = [flag for flag in build.flags if flag.startswith(("-fsanitize", "--coverage"))]
            _call([*compiler(), *links, program, *objects, "-o", target], root)
    return target


def files_of(source: Path, build: Build, root: Path = ROOT) -> set[str]:
    """The names of the files that a program is made of, once it is compiled."""
    stamp = root / "build/emulator" / build.name / f"{source.stem}.json"
    return {Path(name).name for name in json.loads(stamp.read_text())["files"]}


def _compiled(source: Path, directory: Path, flags: tuple[str, ...], root: Path) -> Path:
    target = directory / f"{source.stem}.o"
    stamp = directory / f"{source.stem}.json"
    includes = [root / name for name in ("csrc", "csrc/tests", "tests/emulator")]
    command = [
        *compiler(), "-std=c++20", "-DFASTLOSS_EMULATOR", "-fno-math-errno", "-fno-trapping-math",
        "-Wno-unknown-pragmas", *flags, *(f"-I{path}" for path in includes),
    ]  # fmt: skip
    if path := toolkit():
        command += ["-isystem", str(path)]
    if target.exists() and stamp.exists():
        made = json.loads(stamp.read_text())
        if made["command"] == command and all(
            _digest(Path(name)) == digest for name, digest in made["files"].items()
        ):
            return target
    dependencies = directory / f"{source.stem}.d"
    stamp.unlink(missing_ok=True)
    _call([*command, "-MMD", "-MF", dependencies, "-c", source, "-o", target], root)
    names = dependencies.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    files = {name: _digest(root / name) for name in names}
    stamp.write_text(json.dumps({"command": command, "files": files}))
    return target


@functools.cache
def _contents(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(path: Path) -> str:
    try:
        state = path.stat()
    except FileNotFoundError:
        return ""
    return _contents(path, state.st_mtime_ns, state.st_size)


def _call(command: list[str | Path], root: Path) -> None:
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{result.stderr}")


def run(
    program: Path, build: Build, *arguments: str, timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What a program printed, and its exit code: not 0 for a failed check or a report."""
    command = [str(program), *arguments]
    variables = os.environ | build.environment | environment

    def execute(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=variables,
            errors="replace",
        )

    result = execute(command)
    if "unexpected memory mapping" in result.stderr:  # the race detector, under newer kernels
        result = execute(["setarch", "-R", *command])
    return result


def names_by_place(binary: Path) -> dict[int, str]:
    """Mangled names in a binary by where launches.h finds them."""
    names = {}
    for line in subprocess.run(
        ["nm", binary], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        address, name = line[:16].strip(), line[19:]
        if address:
            names[int(address, 16)] = name
    begin = next(place for place, name in names.items() if name == "fastloss_launches_begin")
    return {place - begin: name for place, name in names.items()}
