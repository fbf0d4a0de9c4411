"""Whether the build gets CUDA kernels, and what it says when not: with pretended compilers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.skipif(
    not (ROOT / "_build" / "cuda_toolkit.py").exists(), reason="not in the source tree"
)
sys.path.insert(0, str(ROOT / "_build"))

CPU_TORCH = ("2.13.0+cpu", None)
CUDA_TORCH = ("2.14.1+cu130", "13.0")


@pytest.fixture(scope="module")
def cuda_toolkit():
    return pytest.importorskip("cuda_toolkit")


def make_toolkit(folder, version="13.0", architectures=(80, 86, 90, 100, 120)):
    """A folder like a CUDA toolkit's, whose nvcc answers what the build asks it."""
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    known = "".join(f"    echo compute_{one}\n" for one in architectures)
    nvcc.write_text(
        f"""#!/bin/sh
case "$1" in
  --version)
    echo "Cuda compilation tools, release {version}, V{version}.88" ;;
  --list-gpu-arch)
{known}    ;;
  --dryrun)
    echo "#$ TOP={folder}/bin/.." >&2 ;;
esac
""",
        encoding="utf-8",
    )
    nvcc.chmod(0o755)
    return folder


@pytest.fixture
def nothing(monkeypatch, cuda_toolkit, tmp_path):
    """Environment variables of a machine without nvcc, whatever this one has."""
    which = cuda_toolkit.shutil.which

    def elsewhere(program, path=None):
        return None if str(program).startswith("/usr/local/cuda") else which(program, path=path)

    monkeypatch.setattr(cuda_toolkit.shutil, "which", elsewhere)
    return {"PATH": str(tmp_path / "empty"), "FASTLOSS_CUDA": "auto"}


def test_cpu_torch(cuda_toolkit, nothing):
    toolkit, reason = cuda_toolkit.decide(nothing, *CPU_TORCH)
    assert toolkit is None
    assert "2.13.0+cpu" in reason
    with pytest.raises(
        cuda_toolkit.CannotBuild, match=r"FASTLOSS_CUDA=1, but torch 2\.13\.0\+cpu.*without CUDA"
    ):
        cuda_toolkit.decide(nothing | {"FASTLOSS_CUDA": "1"}, *CPU_TORCH)


def test_cpu_torch_needs_no_nvcc_in_vain(cuda_toolkit, nothing, tmp_path):
    """With nvcc but a CPU torch there are no CUDA kernels either."""
    environ = nothing | {"CUDA_HOME": str(make_toolkit(tmp_path / "cuda"))}
    assert cuda_toolkit.decide(environ, *CPU_TORCH)[0] is None


def test_missing_nvcc(cuda_toolkit, nothing):
    toolkit, reason = cuda_toolkit.decide(nothing, *CUDA_TORCH)
    assert toolkit is None
    assert "nvcc was not found" in reason
    with pytest.raises(
        cuda_toolkit.CannotBuild,
        match=r"FASTLOSS_CUDA=1, but nvcc was not found on the PATH.*version 13.*CUDA_HOME"
        r".*FASTLOSS_CUDA=0",
    ):
        cuda_toolkit.decide(nothing | {"FASTLOSS_CUDA": "1"}, *CUDA_TORCH)


def test_cuda_home_without_nvcc_is_named(cuda_toolkit, nothing, tmp_path):
    """It was a choice: an nvcc on the PATH does not stand in for it."""
    other = make_toolkit(tmp_path / "other")
    environ = {"PATH": str(other / "bin"), "CUDA_HOME": str(tmp_path / "gone")}
    with pytest.raises(cuda_toolkit.CannotBuild, match=r"not found in .*gone/bin \(CUDA_HOME\)"):
        cuda_toolkit.decide(environ | {"FASTLOSS_CUDA": "1"}, *CUDA_TORCH)


def test_version_mismatch(cuda_toolkit, nothing, tmp_path):
    environ = nothing | {"CUDA_HOME": str(make_toolkit(tmp_path / "cuda", version="12.9"))}
    toolkit, reason = cuda_toolkit.decide(environ, *CUDA_TORCH)
    assert toolkit is None
    assert "major versions must agree" in reason
    with pytest.raises(
        cuda_toolkit.CannotBuild, match=r"nvcc is of CUDA 12\.9 .*torch 2\.14\.1\+cu130 of CUDA 13"
    ):
        cuda_toolkit.decide(environ | {"FASTLOSS_CUDA": "1"}, *CUDA_TORCH)


@pytest.mark.parametrize("value", ["yes", "2", "AUTO"])
def test_unknown_value(cuda_toolkit, nothing, value):
    with pytest.raises(
        cuda_toolkit.CannotBuild, match=f"FASTLOSS_CUDA must be auto, 0 or 1, got '{value}'"
    ):
        cuda_toolkit.decide(nothing | {"FASTLOSS_CUDA": value}, *CPU_TORCH)


@pytest.mark.parametrize("value", ["", "auto", "1"])
def test_found(cuda_toolkit, nothing, tmp_path, value):
    """Another minor version will do; nvcc on the PATH may be a link into the toolkit's folder."""
    home = make_toolkit(tmp_path / "cuda-13.2", version="13.2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").symlink_to(home / "bin" / "nvcc")
    environ = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    environ["FASTLOSS_CUDA"] = value
    toolkit, reason = cuda_toolkit.decide(environ, *CUDA_TORCH)
    assert reason == ""
    assert toolkit.version == "13.2"
    assert toolkit.home == str(home)


def test_off_where_all_is_there(cuda_toolkit, nothing, tmp_path):
    environ = nothing | {"CUDA_HOME": str(make_toolkit(tmp_path / "cuda")), "FASTLOSS_CUDA": "0"}
    assert cuda_toolkit.decide(environ, *CUDA_TORCH) == (None, "FASTLOSS_CUDA=0")


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        ((75, 80, 86, 89, 90, 100, 120), "8.0;8.6;9.0;10.0;12.0+PTX"),
        ((75, 80, 86, 90), "8.0;8.6;9.0+PTX"),
    ],
)
def test_architectures_that_nvcc_knows(cuda_toolkit, nothing, tmp_path, known, chosen):
    home = make_toolkit(tmp_path / "cuda", architectures=known)
    toolkit = cuda_toolkit.find(nothing | {"CUDA_HOME": str(home)})
    assert cuda_toolkit.architectures(nothing, toolkit) == chosen


def test_architectures_chosen(cuda_toolkit, nothing, tmp_path):
    toolkit = cuda_toolkit.find(nothing | {"CUDA_HOME": str(make_toolkit(tmp_path / "cuda"))})
    for given in ("9.0", "8.0 9.0a", "8.6;12.0+PTX", "Hopper"):
        assert cuda_toolkit.architectures({"TORCH_CUDA_ARCH_LIST": given}, toolkit) == given
    with pytest.raises(
        cuda_toolkit.CannotBuild, match=r"TORCH_CUDA_ARCH_LIST.*7\.5.*need 8\.0.*got '7\.5;8\.0'"
    ):
        cuda_toolkit.architectures({"TORCH_CUDA_ARCH_LIST": "7.5;8.0"}, toolkit)


def test_no_architecture_in_common(cuda_toolkit, nothing, tmp_path):
    home = make_toolkit(tmp_path / "cuda", architectures=(50, 75))
    toolkit = cuda_toolkit.find(nothing | {"CUDA_HOME": str(home)})
    with pytest.raises(cuda_toolkit.CannotBuild, match=r"none of the compute capabilities 8\.0"):
        cuda_toolkit.architectures(nothing, toolkit)


@pytest.mark.parametrize(
    ("value", "message"),
    [("maybe", "must be auto, 0 or 1, got 'maybe'"), ("1", "FASTLOSS_CUDA=1, but ")],
)
def test_setup_ends_with_the_message_alone(value, message):
    """What pip prints of a build that cannot be: one line, no traceback."""
    environ = os.environ | {"FASTLOSS_CUDA": value, "CUDA_HOME": "/nowhere"}
    result = subprocess.run(
        [sys.executable, "setup.py", "--name"],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_kernels_know_no_torch():
    """nvcc takes minutes over torch's headers; kernels and their instantiations have none."""
    for path in (ROOT / "csrc" / "cuda").iterdir():
        if path.suffix in (".cu", ".cuh"):
            included = re.findall(r"#include\s*(\S+)", path.read_text(encoding="utf-8"))
            for header in ("<torch", "<ATen", "<c10", "_torch.h", "pybind"):
                assert not [name for name in included if header in name], path


def test_objects_have_names_of_their_own():
    """They are named after the source without its suffix."""
    sources = [p for p in (ROOT / "csrc").rglob("*") if p.suffix in (".cpp", ".cu")]
    assert len({p.with_suffix("") for p in sources}) == len(sources)
