"""CUDA kernels run on the CPU (tests/emulator): every program in every build, without a report.

`make test` runs what a program says is quick; `make test-cuda` the rest.
"""

import re
import shutil
import subprocess
import sys

import pytest

from emulator import build as emulator

pytestmark = pytest.mark.skipif(
    shutil.which(emulator.compiler()[0]) is None, reason="no C++ compiler"
)
SOURCES = {source.stem: source for source in emulator.sources()}
SANITIZERS = ("address", "thread")


def quick_builds(name):
    """Builds for `make test`: those that a line of the program names. Most take minutes."""
    says = re.search(r"^// quick: ([\w ]+)$", SOURCES[name].read_text(), re.MULTILINE)
    return set(says[1].split()) if says else set()


RUNS = [
    pytest.param(name, build, marks=[] if build in quick_builds(name) else [pytest.mark.cuda_deep])
    for name in sorted(SOURCES.keys() - {"faults"})
    for build in ("plain", *SANITIZERS)
]


def run(name, build, *arguments, **environment):
    build = emulator.BUILDS[build]
    program = emulator.executable(SOURCES[name], build)
    return emulator.run(program, build, *arguments, **environment)


@pytest.mark.parametrize(("name", "build"), RUNS)
def test_program(name, build):
    result = run(name, build)
    if result.returncode == emulator.SKIPPED:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.cuda_deep
@pytest.mark.parametrize("name", sorted(SOURCES.keys() - {"faults"}))
def test_order_is_free(name):
    """Threads and blocks in another order: the same bits."""

    def digest(seed):
        result = run(name, "plain", FASTLOSS_EMULATOR_SEED=str(seed), FASTLOSS_EMULATOR_DIGEST="1")
        assert result.returncode in (0, emulator.SKIPPED), result.stdout + result.stderr
        return [line for line in result.stdout.splitlines() if line.startswith("digest ")]

    assert digest(1) == digest(2) == digest(3)


@pytest.mark.parametrize("build", ["plain", *SANITIZERS])
def test_faults(build):
    """Kernels with a bug are reported by the builds that can see it, their clean twins by none."""
    listed = run("faults", "plain").stdout.splitlines()
    faults = [line.split("\t") for line in listed]
    assert sum(bool(builds) for _, builds, _ in faults) >= 20
    wrong = []
    for name, builds, report in faults:
        result = run("faults", build, name)
        if build in builds.split(","):
            right = result.returncode != 0 and re.search(report, result.stderr)
        else:
            right = bool(builds) or result.returncode == 0
        if not right:
            wrong.append(f"{name}: exit code {result.returncode}\n{result.stderr[:2000]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.cuda_deep
@pytest.mark.skipif(shutil.which("gcov") is None, reason="no gcov")
def test_coverage():
    """The programs run at least 95 % of the lines of each file with kernels."""
    script = [sys.executable, str(emulator.ROOT / "tests/emulator/coverage.py")]
    result = subprocess.run(script, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
