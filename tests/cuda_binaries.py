"""What nvcc makes of csrc/cuda/*.cu, read without a GPU: registers, shared memory, instructions.

    python tests/cuda_binaries.py [part of a file's name …]

writes tests/cuda_budget.json anew (of the files named, or of all): see test_cuda_build.py. Needs
nvcc and the packages of the extra "cuda".
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
BUDGET = Path(__file__).with_name("cuda_budget.json")
# Compute capabilities, as sm_80: A100, H100, B200, RTX 50.
ARCHITECTURES = (80, 90, 100, 120)
WORKERS = min(os.cpu_count() or 1, 4)


class Kernel(NamedTuple):
    """One kernel, compiled for one architecture. Bytes a thread, but `shared`: bytes a block."""

    name: str  # as the linker knows it
    threads: int  # of a block, at most
    registers: int  # of a thread
    shared: int
    stack: int
    spilled: int
    instructions: frozenset[str]  # opcodes with their modifiers, as "HMMA.16816.F32.BF16"

    @property
    def shown(self) -> str:
        """Its name as in the source, without the namespaces that all have."""
        return readable(self.name)


def missing() -> str:
    """What reading the binaries needs and is not here; "" if all is."""
    if toolkit() is None:
        return "nvcc is not installed"
    if tool("cuobjdump") is None:
        return "the packages of the extra 'cuda' are not installed"
    return ""


@cache
def toolkit():
    sys.path.insert(0, str(ROOT / "_build"))
    try:
        import cuda_toolkit
    except ModuleNotFoundError:  # not in the source tree
        return None
    finally:
        sys.path.pop(0)
    return cuda_toolkit.find(os.environ)


@cache
def tool(name: str) -> str | None:
    """Find a program of the packages nvidia-cuda-*, else of the toolkit."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        for path in Path(folder).glob(f"cu*/bin/{name}"):
            return str(path)
    return shutil.which(name)


def flags() -> list[str]:
    return (ROOT / "cuda_flags.txt").read_text(encoding="utf-8").split()


def run(*command: object) -> str:
    """Run a program and return what it printed; what went wrong is part of the exception."""
    # cuobjdump starts nvdisasm.
    path = os.pathsep.join([str(Path(tool("cuobjdump") or "/").parent), os.environ["PATH"]])
    result = subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def compiled(source: Path, architecture: int, folder: Path) -> list[Kernel]:
    """Compile a file for an architecture and describe its kernels."""
    cubin = folder / f"{source.stem}.{architecture}.cubin"
    report = run(
        *(toolkit().nvcc, "-cubin", f"-arch=sm_{architecture}", *flags(), "-Xptxas", "-v"),
        *("-I", ROOT / "csrc", source, "-o", cubin),
    )
    instructions = opcodes(run(tool("cuobjdump"), "-sass", cubin))
    threads = block_sizes(run(tool("cuobjdump"), "-elf", cubin))
    kernels = []
    for name, properties in ptxas_reports(report).items():
        kernels.append(
            Kernel(name, threads.get(name, 1024), **properties, instructions=instructions[name])
        )
    return sorted(kernels)


def ptxas_reports(text: str) -> dict[str, dict[str, int]]:
    """Read what `ptxas -v` says, kernel by kernel."""
    found: dict[str, dict[str, int]] = {}
    for part in re.split(r"Compiling entry function '", text)[1:]:
        stack, stores, loads = re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        ).groups()
        shared = re.search(r"(\d+) bytes smem", part)
        found[part.split("'")[0]] = {
            "registers": int(re.search(r"Used (\d+) registers", part).group(1)),
            "shared": int(shared.group(1)) if shared else 0,
            "stack": int(stack),
            "spilled": int(stores) + int(loads),
        }
    return found


def opcodes(text: str) -> dict[str, frozenset[str]]:
    """The instructions of every function in what `cuobjdump -sass` prints."""
    found = {}
    for part in re.split(r"Function : ", text)[1:]:
        found[part.split()[0]] = frozenset(
            re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", part, re.M)
        )
    return found


def block_sizes(text: str) -> dict[str, int]:
    """The threads of a block that each kernel is bounded to, from `cuobjdump -elf`."""
    found = {}
    for part in re.split(r"^\.nv\.info\.", text, flags=re.M)[1:]:
        bound = re.search(r"EIATTR_MAX_THREADS.*?Value:\s+0x([0-9a-f]+)", part, re.S)
        if bound:
            found[part.split()[0]] = int(bound.group(1), 16)
    return found


def everything(architecture: int, sources=SOURCES) -> dict[str, list[Kernel]]:
    """Every kernel of every file, for one architecture."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        jobs = {s.name: pool.submit(compiled, s, architecture, Path(folder)) for s in sources}
        return {name: job.result() for name, job in jobs.items()}


@cache
def readable(mangled: str) -> str:
    filt = shutil.which("c++filt")
    if filt is None:
        return mangled
    return shortened(run(filt, mangled).strip())


def shortened(name: str) -> str:
    """Without return type, parameters and the namespaces that all have."""
    depth, end = 0, len(name)
    for position, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0 and not name.startswith("(anonymous", position):
            end = position
            break
    name = re.sub(r"fastloss::((cuda|device)::)?", "", name[:end])
    return name.removeprefix("void ")


# ------------------------------------------------------------------------------------- occupancy

OCCUPANCY = r"""
#include <cstdio>
#include <cuda_occupancy.h>
// Arguments from standard input: architecture, threads, registers, shared bytes, one kernel a line.
int main() {
  int arch, threads, registers;
  size_t shared;
  while (std::scanf("%d %d %d %zu", &arch, &threads, &registers, &shared) == 4) {
    cudaOccDeviceProp device;
    device.computeMajor = arch / 10;
    device.computeMinor = arch % 10;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = arch >= 120 || arch == 86 || arch == 89 ? 1536 : 2048;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    const size_t kilobytes = arch >= 120 || arch == 86 || arch == 89 ? 100 : arch >= 90 ? 228 : 164;
    device.sharedMemPerMultiprocessor = kilobytes << 10;
    device.sharedMemPerBlock = 48 << 10;
    device.sharedMemPerBlockOptin = (kilobytes - 1) << 10;
    device.reservedSharedMemPerBlock = 1 << 10;
    device.numSms = 1;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = threads;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = shared;
    kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_DEFAULT;
    kernel.maxDynamicSharedSizeBytes = 0;
    kernel.numBlockBarriers = 1;
    cudaOccDeviceState state;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, 0)) {
      return 1;
    }
    std::printf("%d\n", result.activeBlocksPerMultiprocessor);
  }
}
"""


def resident_blocks(architecture: int, kernels: list[Kernel], folder: Path) -> list[int]:
    """Blocks of each kernel that fit a multiprocessor, by NVIDIA's own cuda_occupancy.h."""
    program = folder / "occupancy"
    if not program.exists():
        (folder / "occupancy.cpp").write_text(OCCUPANCY, encoding="utf-8")
        include = Path(toolkit().home) / "include"
        run("g++", "-w", "-I", include, folder / "occupancy.cpp", "-o", program)
    lines = [f"{architecture} {k.threads} {k.registers} {k.shared}" for k in kernels]
    result = subprocess.run(
        [program], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    return [int(line) for line in result.stdout.split()]


# ----------------------------------------------------------------------------------------- budget

# {"nvcc": "13.0", "kernels": {file: {kernel: {architecture: [registers, shared, blocks]}}}}
FIGURES = ("registers", "shared bytes", "resident blocks")


def measured(architecture: int, kernels: list[Kernel], folder: Path) -> dict[str, list[int]]:
    blocks = resident_blocks(architecture, kernels, folder)
    return {k.name: [k.registers, k.shared, b] for k, b in zip(kernels, blocks, strict=True)}


def write_budget(chosen: list[str]) -> None:
    old = json.loads(BUDGET.read_text(encoding="utf-8")) if chosen and BUDGET.exists() else {}
    table = old.get("kernels", {})
    with tempfile.TemporaryDirectory() as folder:
        sources = [s for s in SOURCES if not chosen or any(part in s.name for part in chosen)]
        fresh: dict[str, dict[str, dict[str, list[int]]]] = {s.name: {} for s in sources}
        for architecture in ARCHITECTURES:
            for file, kernels in everything(architecture, sources).items():
                shown = {k.name: k.shown for k in kernels}
                for name, figures in measured(architecture, kernels, Path(folder)).items():
                    of_kernel = fresh[file].setdefault(shown[name], {})
                    of_kernel[str(architecture)] = figures
    table |= fresh
    rows = [
        f"  {json.dumps(file)}: {{\n"
        + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(kernels.items()))
        + "\n  }"
        for file, kernels in sorted(table.items())
        if (ROOT / "csrc" / "cuda" / file).exists()
    ]
    head = f'{{\n"nvcc": {json.dumps(toolkit().version)},\n"kernels": {{\n'
    BUDGET.write_text(head + ",\n".join(rows) + "\n}\n}\n", encoding="utf-8")


if __name__ == "__main__":
    if problem := missing():
        sys.exit(f"cuda_binaries: {problem}")
    write_budget(sys.argv[1:])
