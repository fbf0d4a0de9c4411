"""Peak extra memory of a call: how far the process's resident set grows while it runs.

Linux keeps the peak of the resident set (VmHWM in /proc/self/status), and writing 5 to
/proc/self/clear_refs resets it. The numbers are exact to a few pages when freed blocks really go
back to the kernel, so this is measured in a process of its own whose C library maps every block of
64 KiB or more separately (`ENVIRONMENT`).
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path

METHOD = "growth of VmHWM in a separate process, inputs not counted, results counted"
CUDA_METHOD = "peak of torch's allocator on the device, inputs not counted, results counted"
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def status_bytes(field: str) -> int:
    """A kB field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def is_offered() -> bool:
    """Whether this system tells a process its peak."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def available_bytes() -> int:
    """Memory that new allocations may take; huge where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 1 << 62


def peak_extra_bytes(function: Callable[[], object]) -> int | None:
    """Peak growth of the resident set during `function`; None where Linux does not offer it."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = status_bytes("VmRSS")
    except (AttributeError, OSError, KeyError):
        return None
    result = function()
    peak = status_bytes("VmHWM")
    del result
    return max(0, peak - before)


def peak_extra_cuda_bytes(work: Callable[[], object]) -> int:
    """The same on a GPU, by torch's own allocator (not verified on hardware)."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = work()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    del result
    return peak - before
