"""Bring .venv up to date: `python3 _build/environment.py EXTRA...`, as the Makefile does.

Steps, each skipped when what it depends on has not changed since it last succeeded:

1. a virtual environment in .venv, made anew when this folder or the Python moved;
2. torch ($TORCH_SPEC, by default the pin in _build/torch.txt) and what the build needs;
3. the extension, by an editable install;
4. for each EXTRA the packages that pyproject.toml lists, in the versions of _build/constraints.txt.

A step that is up to date needs no network, and the third never does. Only the standard library
is used, as this runs before anything is installed.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "stamps"
CONSTRAINTS = ROOT / "_build" / "constraints.txt"

# Variables that the build obeys.
CHOICES = ["CXX", "CUDA_HOME", "CUDA_PATH", "FASTLOSS_CUDA", "TORCH_CUDA_ARCH_LIST"]
# What the build imports from .venv, as it runs there without isolation.
BUILD_REQUIREMENTS = ["setuptools>=77.0.3", "ninja", "numpy"]
# recbole carries the demo's data set; its dependencies, a second torch stack, are not wanted.
WITHOUT_DEPENDENCIES = {"demo": ["recbole==1.2.1"]}


def run(*command):
    """Run a command in the project's folder; on failure stop with its exit status."""
    print("+", shlex.join(command), flush=True)
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    if status:
        sys.exit(f"fastloss: set-up failed (exit status {status}) in: {shlex.join(command)}")


def pip_install(*arguments):
    """Install into .venv by pip."""
    run(
        *(str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"),
        *("--quiet", "--no-warn-script-location", *arguments),
    )


def digest(*parts):
    """Hash strings and the contents of files."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        # The length keeps neighbours apart.
        total.update(f"{part}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def up_to_date(name, state):
    """Tell whether step `name` last succeeded in this state."""
    stamp = STAMPS / name
    return stamp.exists() and stamp.read_text(encoding="utf-8") == state


def set_stamp(name, state):
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / name).write_text(state, encoding="utf-8")


def make_venv():
    """Make .venv. It holds absolute paths, so that a copied or moved one is of no use."""
    state = digest(str(ROOT), sys.version, sys.base_prefix)
    if not up_to_date("venv", state) or not PYTHON.exists():
        for stale in (VENV, ROOT / "build"):
            shutil.rmtree(stale, ignore_errors=True)
        run(sys.executable, "-m", "venv", str(VENV))
        set_stamp("venv", state)
    return state


def install_torch(state, pin="torch.txt"):
    spec = os.environ.get("TORCH_SPEC") or (ROOT / "_build" / pin).read_text("utf-8")
    state = digest(state, spec, CONSTRAINTS)
    if not up_to_date("torch", state):
        print(f"fastloss: installing {spec.strip()}; on PyPI that is a download of gigabytes")
        pip_install(*shlex.split(spec), *BUILD_REQUIREMENTS, "--constraint", str(CONSTRAINTS))
        set_stamp("torch", state)
    return state


def install_extension(state):
    """Build the extension and install the package as a link to this folder."""
    names = ["setup.py", "pyproject.toml", "compile_flags.txt", "cuda_flags.txt"]
    names += ["_build/backend.py", "_build/cuda_toolkit.py"]
    tests = ROOT / "csrc" / "tests"
    sources = [p for p in sorted((ROOT / "csrc").rglob("*.*")) if tests not in p.parents]
    choices = [f"{name}={os.environ.get(name, '')}" for name in CHOICES]
    state = digest(state, *choices, *(ROOT / name for name in names), *sources)
    if not up_to_date("extension", state) or not list((ROOT / "fastloss").glob("_C.*.so")):
        print("fastloss: compiling the extension, some minutes the first time", flush=True)
        pip_install("--no-build-isolation", "--no-deps", "--no-index", "--editable", ".")
        set_stamp("extension", state)


def install_extra(extra, state):
    """Install what pyproject.toml lists for an extra; fastloss itself is there already."""
    without_dependencies = WITHOUT_DEPENDENCIES.get(extra, [])
    state = digest(state, ROOT / "pyproject.toml", *without_dependencies)
    if not up_to_date(extra, state):
        pip_install(f"fastloss[{extra}]", "--constraint", str(CONSTRAINTS))
        if without_dependencies:
            pip_install("--no-deps", *without_dependencies)
        set_stamp(extra, state)


def main(extras):
    # Two makes at once in one folder: the second waits, then finds all done.
    with open(ROOT / "_build" / "environment.py", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = install_torch(make_venv())
        install_extension(state)
        for extra in extras:
            install_extra(extra, state)


if __name__ == "__main__":
    main(sys.argv[1:])
