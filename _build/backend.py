"""PEP 517 build backend: setuptools, building against the torch that is already installed.

pip builds in an isolated environment. Left to itself it would download a second torch into it,
gigabytes on Linux, maybe of another C++ ABI than the one the extension is then loaded into. Here
the isolated build sees the packages of the environment it builds for; only where that has no torch
is a pinned one required. setup.py pins the result to the torch it was built against.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import build_sdist, get_requires_for_build_sdist

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

# The same interpreter without pip's PYTHONPATH is the environment that is built for.
_FIND_TORCH = """
import importlib.util, json, sys
found = importlib.util.find_spec("torch")
print(json.dumps([path for path in sys.path if path] if found else []))
"""


def _installed_torch_path():
    """Return the module search path of the target environment, empty if it has no torch."""
    command = [sys.executable, "-E", "-c", _FIND_TORCH]
    # Away from the source tree: a folder named torch there must not count.
    found = subprocess.run(command, cwd=os.sep, capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


def _see_installed_torch():
    """Append the target's packages to sys.path, so that the isolated ones keep precedence."""
    sys.path += [path for path in _installed_torch_path() if path not in sys.path]
    # ninja's program, when pip runs without isolation from an environment that is not activated.
    os.environ["PATH"] += os.pathsep + sysconfig.get_path("scripts")


def _torch_requirement():
    pin = Path(__file__).with_name("torch.txt").read_text(encoding="utf-8").split()
    return [] if _installed_torch_path() else pin


def get_requires_for_build_wheel(config_settings=None):
    return _torch_requirement()


def get_requires_for_build_editable(config_settings=None):
    return _torch_requirement()


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    _see_installed_torch()
    return build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    _see_installed_torch()
    return build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _see_installed_torch()
    # setuptools packs whatever lies there, modules deleted since the last build included.
    for left_over in Path("build").glob("lib*"):
        shutil.rmtree(left_over)
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _see_installed_torch()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
