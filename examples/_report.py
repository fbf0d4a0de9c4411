"""What the examples share: the memory of a call, the processor's name, a table."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import platform
from collections.abc import Callable
from pathlib import Path

import torch


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def peak_extra_bytes(function: Callable[[], object]) -> int | None:
    """Growth of the process's resident memory while `function` runs, its results included.

    Linux keeps the peak of the resident set (VmHWM) and writing 5 to clear_refs resets it. Freed
    blocks that the C library still holds would hide an allocation, so they are handed back first.
    None where the kernel does not offer this.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status_bytes("VmRSS")
    except (AttributeError, OSError, KeyError):
        function()
        return None
    result = function()
    peak = _status_bytes("VmHWM")
    del result
    return peak - before


def median(values: list[float]) -> float:
    return float(torch.tensor(values).median())


def megabytes(count: float | None) -> str:
    return "not available" if count is None else f"{count / 1e6:,.0f} MB"


def processor() -> str:
    """The processor's name, from Linux where it is to be had."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def print_table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Rows of equal length, the first one the header; all columns but the first align right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    print(f"\n{title}\n{rule}")
    for position, row in enumerate(rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
        if position == 0:
            print(rule)
