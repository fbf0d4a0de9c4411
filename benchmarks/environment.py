"""Where and with what a result was measured."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import fastloss

INSTRUCTION_SETS = ("fma", "avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "sve")


def describe(command: str, device: str = "cpu") -> dict[str, Any]:
    """Machine, versions, threads, commit and command: everything a row needs to be read later."""
    return {
        **(_gpu() if device == "cuda" else {}),
        "date": datetime.date.today().isoformat(),
        "command": command,
        "cpu": _cpu_field("model name") or platform.machine(),
        "cores": os.cpu_count(),
        "instruction_sets": _instruction_sets(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fastloss": fastloss.build_info(),
        "commit": _commit(),
    }


def _gpu() -> dict[str, Any]:
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "gpu": found.name,
        "gpu_memory_bytes": found.total_memory,
        "gpu_capability": f"{found.major}.{found.minor}",
        "gpu_multiprocessors": found.multi_processor_count,
        "cuda": torch.version.cuda,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _cpu_field(name: str) -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.split(":")[0].strip() == name:
                return line.split(":", 1)[1].strip()
    return None


def _instruction_sets() -> list[str]:
    flags = set((_cpu_field("flags") or _cpu_field("Features") or "").split())
    return [name for name in INSTRUCTION_SETS if name in flags]


def _commit() -> str | None:
    """The commit of this checkout, with "+" when files differ from it; None without git."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        commit = subprocess.check_output(
            [*git, "rev-parse", "--short=12", "HEAD"], text=True, stderr=subprocess.DEVNULL
        ).strip()
        changed = subprocess.check_output(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            text=True,
            stderr=subprocess.DEVNULL,
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")
