"""Whether the extension gets its CUDA kernels, compiled by which nvcc and for which GPUs.

FASTLOSS_CUDA=auto, or unset: where torch is a CUDA build and an nvcc of its major version is found.
FASTLOSS_CUDA=1: always; what is missing is an error that says so.
FASTLOSS_CUDA=0: never.

TORCH_CUDA_ARCH_LIST names the GPUs, as everywhere with torch. Only the standard library is used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# Compute capabilities compiled for unless TORCH_CUDA_ARCH_LIST says others, as far as nvcc knows
# them: A100; A10, RTX 30; H100; B200; RTX 50. A GPU in between takes the code of the one before of
# the same major version; the last, as PTX too, serves what comes after.
ARCHITECTURES = ("8.0", "8.6", "9.0", "10.0", "12.0")
OLDEST = (8, 0)  # cp.async, bfloat16 and tf32 products


class CannotBuild(RuntimeError):
    """FASTLOSS_CUDA or TORCH_CUDA_ARCH_LIST asks for what cannot be done; says why."""


class Toolkit(NamedTuple):
    nvcc: str
    home: str  # what CUDA_HOME is to be: include/ and lib64/ are there
    version: str  # "13.0"


def find(environ: Mapping[str, str]) -> Toolkit | None:
    """Find nvcc: where CUDA_HOME or CUDA_PATH points, else on the PATH, else in /usr/local/cuda."""
    home = environ.get("CUDA_HOME") or environ.get("CUDA_PATH")
    if home:  # a choice; another nvcc would be a surprise
        nvcc = shutil.which(os.path.join(home, "bin", "nvcc"))
    else:
        nvcc = shutil.which("nvcc", path=environ.get("PATH", os.defpath))
        nvcc = nvcc or shutil.which("/usr/local/cuda/bin/nvcc")
    if not nvcc:
        return None
    release = re.search(r"release (\d+\.\d+)", _output(nvcc, "--version"))
    if not release:
        return None
    # nvcc may be a script or a link elsewhere; it knows its own folder.
    top = re.search(r"TOP=(\S+)", _output(nvcc, "--dryrun", "-x", "cu", os.devnull))
    root = Path(top.group(1)) if top else Path(nvcc).resolve().parent.parent
    return Toolkit(nvcc, str(root.resolve()), release.group(1))


def decide(
    environ: Mapping[str, str], torch_version: str, torch_cuda: str | None
) -> tuple[Toolkit | None, str]:
    """Return the toolkit to build the CUDA kernels with, or None and the reason.

    Args:
        environ: the environment variables.
        torch_version: that of the installed torch, as "2.14.1+cu130".
        torch_cuda: the CUDA version it is built with, as "13.0"; None where it has no CUDA.
    """
    choice = environ.get("FASTLOSS_CUDA") or "auto"
    if choice not in ("auto", "0", "1"):
        raise CannotBuild(f"FASTLOSS_CUDA must be auto, 0 or 1, got {choice!r}")
    if choice == "0":
        return None, "FASTLOSS_CUDA=0"
    toolkit = None
    if torch_cuda is None:
        problem = (
            f"torch {torch_version} is a build without CUDA; install a CUDA build of torch "
            "(https://pytorch.org/get-started/locally)"
        )
    else:
        toolkit = find(environ)
        problem = _mismatch(environ, toolkit, torch_version, torch_cuda)
    if not problem:
        return toolkit, ""
    if choice == "1":
        raise CannotBuild(
            f"FASTLOSS_CUDA=1, but {problem}; or set FASTLOSS_CUDA=0 to build without CUDA kernels"
        )
    return None, problem


def architectures(environ: Mapping[str, str], toolkit: Toolkit) -> str:
    """Return the value for TORCH_CUDA_ARCH_LIST: the user's, or those of ARCHITECTURES that nvcc
    knows, the last as PTX too."""
    given = environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    if given:
        for major, minor in re.findall(r"(\d+)\.(\d+)", given):
            if (int(major), int(minor)) < OLDEST:
                raise CannotBuild(
                    f"TORCH_CUDA_ARCH_LIST has compute capability {major}.{minor}, but fastloss's "
                    f"CUDA kernels need {OLDEST[0]}.{OLDEST[1]} (Ampere) or later, got {given!r}"
                )
        return given
    known = set(re.findall(r"compute_(\d+)\b", _output(toolkit.nvcc, "--list-gpu-arch")))
    chosen = [one for one in ARCHITECTURES if one.replace(".", "") in known]
    if not chosen:
        raise CannotBuild(
            f"nvcc {toolkit.version} ({toolkit.nvcc}) knows none of the compute capabilities "
            f"{', '.join(ARCHITECTURES)}; name others by TORCH_CUDA_ARCH_LIST"
        )
    return ";".join(chosen) + "+PTX"


def _mismatch(
    environ: Mapping[str, str], toolkit: Toolkit | None, torch_version: str, torch_cuda: str
) -> str:
    if toolkit is None:
        home = environ.get("CUDA_HOME") or environ.get("CUDA_PATH")
        where = f"in {home}/bin (CUDA_HOME)" if home else "on the PATH or in /usr/local/cuda/bin"
        major = torch_cuda.split(".")[0]
        return (
            f"nvcc was not found {where}; install the CUDA toolkit, version {major}, or let "
            "CUDA_HOME name its folder"
        )
    if toolkit.version.split(".")[0] != torch_cuda.split(".")[0]:
        return (
            f"nvcc is of CUDA {toolkit.version} ({toolkit.nvcc}) and torch {torch_version} of CUDA "
            f"{torch_cuda}; their major versions must agree: let CUDA_HOME name another toolkit"
        )
    return ""


def _output(*command: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout + result.stderr
