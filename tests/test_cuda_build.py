"""The CUDA kernels as nvcc compiles them, proved and measured without a GPU.

Cubins of four architectures: no spills, no local memory, no atomics, tensor cores where they are
due, registers, shared memory and resident blocks within tests/cuda_budget.json. To accept other
figures: python tests/cuda_binaries.py. The PTX of every kernel: no race, no barrier that not all
threads reach, by sentryward on launches that the emulator executed.
"""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import cuda_binaries
import cuda_races
from cuda_binaries import ARCHITECTURES, BUDGET, FIGURES, ROOT, SOURCES

pytestmark = [
    pytest.mark.cuda_deep,
    pytest.mark.skipif(not SOURCES, reason="not in the source tree"),
]
needs_tools = pytest.mark.skipif(bool(cuda_binaries.missing()), reason=cuda_binaries.missing())
needs_sentryward = pytest.mark.skipif(bool(cuda_races.missing()), reason=cuda_races.missing())
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids="sm_{}".format)


@cache
def kernels(architecture):
    """[(file, kernel)], compiled once for all tests here."""
    found = cuda_binaries.everything(architecture)
    return [(file, kernel) for file, of_file in found.items() for kernel in of_file]


def budget():
    return json.loads(BUDGET.read_text(encoding="utf-8"))


@needs_tools
@each_architecture
def test_nothing_is_spilled_and_no_memory_is_local(architecture):
    """A local array that is not all in registers would be memory of the device."""
    for file, kernel in kernels(architecture):
        where = f"{file}: {kernel.shown}"
        assert kernel.spilled == 0, where
        assert kernel.stack == 0, where
        local = {op for op in kernel.instructions if re.match(r"(LDL|STL)\b", op)}
        assert not local, f"{where}: {local}"


@needs_tools
@each_architecture
def test_no_atomics(architecture):
    """Their order would be the hardware's, not ours."""
    for file, kernel in kernels(architecture):
        atomics = {op for op in kernel.instructions if re.match(r"(ATOM|ATOMG|ATOMS|RED)\b", op)}
        assert not atomics, f"{file}: {kernel.shown}: {atomics}"


def is_mma(kernel):
    """Tensor-core tiles (csrc/cuda/mma_*.cuh), but for the kernels beside them."""
    return re.match(r"mma::tile_", kernel.shown) is not None


@needs_tools
@each_architecture
def test_tensor_cores_and_copies_are_used(architecture):
    """mma.sync, ldmatrix and cp.async are what they are called, not their emulation."""
    tiles = [one for one in kernels(architecture) if is_mma(one[1])]
    assert tiles
    for file, kernel in tiles:
        for opcode in ("HMMA", "LDSM", "LDGSTS"):
            found = [op for op in kernel.instructions if op.split(".")[0] == opcode]
            assert found, f"{file}: {kernel.shown}: no {opcode}"


@needs_tools
@each_architecture
def test_tensor_core_kernels_fit_a_multiprocessor(architecture, tmp_path):
    """Three blocks of 128 threads or two of 256; 99 KB of shared memory are all that some have."""
    tiles = [kernel for _, kernel in kernels(architecture) if is_mma(kernel)]
    blocks = cuda_binaries.resident_blocks(architecture, tiles, tmp_path)
    for kernel, resident in zip(tiles, blocks, strict=True):
        assert kernel.shared <= 99 << 10, kernel.shown
        if architecture in (80, 90):
            assert resident * kernel.threads >= 384, f"{kernel.shown}: {resident} blocks"


@needs_tools
@each_architecture
def test_figures_are_within_the_budget(architecture, tmp_path):
    table = budget()
    version = cuda_binaries.toolkit().version
    if version != table["nvcc"]:
        pytest.skip(f"the budget is that of nvcc {table['nvcc']}, this is {version}")
    problems, seen = [], set()
    for file in sorted({file for file, _ in kernels(architecture)}):
        of_file = [kernel for name, kernel in kernels(architecture) if name == file]
        figures = cuda_binaries.measured(architecture, of_file, tmp_path)
        for kernel in of_file:
            seen.add((file, kernel.shown))
            allowed = table["kernels"].get(file, {}).get(kernel.shown, {}).get(str(architecture))
            if allowed is None:
                problems.append(f"{file}: {kernel.shown} has no budget")
                continue
            for name, have, most in zip(FIGURES, figures[kernel.name], allowed, strict=True):
                if have < most if name == "resident blocks" else have > most:
                    problems.append(f"{file}: {kernel.shown}: {have} {name}, budget {most}")
    for file, of_file in table["kernels"].items():
        problems += [f"{file}: {k} is no kernel" for k in of_file if (file, k) not in seen]
    assert not problems, "\n".join(problems)


@needs_sentryward
def test_no_kernel_has_a_race(capsys):
    found = cuda_races.verdicts()
    with capsys.disabled():  # what is not decided is to be seen
        print()
        for verdict in found:
            print(f"{verdict.result:<28} {verdict.kernel}  {verdict.detail}")
    bad = [v for v in found if v.result in cuda_races.FINDINGS]
    assert not bad, "\n".join(f"{v.kernel}: {v.result}: {v.detail}" for v in bad)
    assert any(v.result == "race_free" for v in found)


@needs_sentryward
def test_sentryward_finds_a_missing_barrier(tmp_path):
    """What it says of a kernel is worth something only if it can say the opposite."""
    kernel = """
#include "cuda/launch.h"
namespace fastloss::device {
FASTLOSS_KERNEL(64, 1) void turn(const float* in, float* out) {
  FASTLOSS_SHARED(float, row, 64);
  row[thread()] = in[block().x * 64 + thread()];
  BARRIER
  out[block().x * 64 + thread()] = row[63 - thread()];
}
void start(const float* in, float* out, const Queue& queue) {
  launch(turn, {4, 1}, 64, queue, in, out);
}
}
"""
    launch = cuda_races.Launch((4, 1), 64, (bytes(8), bytes(8)))
    results = {}
    for barrier in ("barrier();", "warp_barrier();", ""):
        source = tmp_path / f"turn{len(results)}.cu"
        source.write_text(kernel.replace("BARRIER", barrier), encoding="utf-8")
        ((name, ptx),) = cuda_races.entries(source, tmp_path).items()
        results[barrier] = cuda_races.analyse(name, ptx, launch, tmp_path).result
    assert results == {
        "barrier();": "race_free",
        "warp_barrier();": "potential_race",
        "": "potential_race",
    }


@needs_tools
def test_the_reader_sees_what_is_forbidden(tmp_path):
    """A kernel with an atomic and a local array."""
    source = tmp_path / "bad.cu"
    source.write_text(
        """
__global__ void bad(float* out, const int* where, int n) {
  float local[64];
  for (int i = 0; i < 64; ++i) local[i] = out[i + n];
  for (int i = 0; i < n; ++i) local[where[i] & 63] += 1.f;
  atomicAdd(out, local[where[0] & 63]);
}
""",
        encoding="utf-8",
    )
    (kernel,) = cuda_binaries.compiled(source, 80, tmp_path)
    assert kernel.stack > 0
    opcodes = {op.split(".")[0] for op in kernel.instructions}
    assert {"LDL", "STL"} <= opcodes
    assert opcodes & {"RED", "ATOM", "ATOMG"}


CUDA_PYTHON = ROOT / ".venv-cuda" / "bin" / "python"


@pytest.mark.skipif(
    not CUDA_PYTHON.exists(), reason="no .venv-cuda: `make cuda-build` makes it (gigabytes)"
)
def test_extension_with_cuda_kernels():
    """It was built, linked and is imported, by a torch that has CUDA; no device is needed."""
    code = """
import json, torch, fastloss
info = fastloss.build_info()
names = [n for n in torch._C._dispatch_get_all_op_names() if n.startswith("fastloss::")]
on_cuda = [n for n in names if torch._C._dispatch_has_kernel_for_dispatch_key(n, "CUDA")]
print(json.dumps([info, on_cuda]))
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [CUDA_PYTHON, "-c", code], cwd=CUDA_PYTHON.parent, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    info, on_cuda = json.loads(result.stdout.splitlines()[-1])
    assert info["cuda"] is True
    assert re.fullmatch(r"\d+\.\d+", info["cuda_toolkit"])
    assert info["cuda_architectures"]
    assert {"fastloss::info_nce_forward", "fastloss::info_nce_backward"} <= set(on_cuda)


def test_make_cuda_build_needs_nvcc(tmp_path):
    """It says so before it downloads gigabytes."""
    environment = os.environ | {"CUDA_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, Path("_build") / "cuda_build.py"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "make cuda-build needs nvcc" in result.stderr
    assert result.stdout == ""
