"""The CUDA engines with torch and without a GPU: a module with the functions of ``fastloss._C``.

Sources are those of a CUDA build, compiled by the C++ compiler against the installed torch; kernels
run in the emulator, and tensors of the CPU are tensors of its device.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch.utils import cpp_extension

import build
from fastloss import _ops

NAME = "fastloss_emulated"


def sources(root: Path = build.ROOT) -> list[Path]:
    csrc, here = root / "csrc", root / "tests/emulator"
    return [
        here / "extension.cpp",
        *(here / name for name in build.RUNTIME),
        *(csrc / f"bindings/{family}.cpp" for family in ("chosen", "pairwise", "self")),
        csrc / "engines/host_torch.cpp",
        csrc / "engines/chosen_triplets_torch.cpp",
        csrc / "engines/pairwise_torch.cpp",
        *sorted((csrc / "cuda").glob("*.cu")),
        *sorted((csrc / "cuda").glob("*_torch.cpp")),
    ]


def flags() -> tuple[str, ...]:
    python = sysconfig.get_path("include")
    return (
        *("-x", "c++", "-O1", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-w"),
        *("-DFASTLOSS_CUDA", f"-DTORCH_EXTENSION_NAME={NAME}"),
        *(f"-isystem{path}" for path in (*cpp_extension.include_paths(), python)),
    )


def library(root: Path = build.ROOT) -> Path:
    """The module's file, made unless it is up to date."""
    directory = root / "build/emulator/extension"
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{NAME}{sysconfig.get_config_var('EXT_SUFFIX')}"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def compiled(source: Path) -> Path:
            apart = directory / source.parent.name
            apart.mkdir(exist_ok=True)
            return build._compiled(source, apart, flags(), root)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compiled, sources(root)))
        newest = max(path.stat().st_mtime_ns for path in objects)
        if not target.exists() or target.stat().st_mtime_ns < newest:
            libraries = [f"-L{path}" for path in cpp_extension.library_paths()]
            names = ["-lc10", "-ltorch_cpu", "-ltorch_python"]
            command = [*build.compiler(), "-shared", "-fopenmp", *objects, *libraries, *names]
            build._call([*command, "-o", target], root)
    return target


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location(NAME, library())
    assert spec
    assert spec.loader
    result = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(result)
    return result


@contextmanager
def on_emulated_device(emulated: ModuleType):
    """Within it, the operators that `emulated` has are its own."""
    kernels = _ops._kernels
    before = dict(kernels)
    for name, device in before:
        if device == "cpu" and hasattr(emulated, name):
            kernels[name, device] = getattr(emulated, name)
    try:
        yield
    finally:
        kernels.update(before)


if __name__ == "__main__":
    print(library(), "for torch", torch.__version__)
