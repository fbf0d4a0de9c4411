"""CUDA kernels run on the CPU (tests/emulator): every program in every build, without a report.

`make test` runs what a program says is quick, `make test-deep` the rest.
"""

import re
import shutil
import subprocess
import sys

import pytest

from emulator import build as emulator
from emulator import coverage

pytestmark = pytest.mark.skipif(
    shutil.which(emulator.compiler()[0]) is None, reason="no C++ compiler"
)
SOURCES = {source.stem: source for source in emulator.sources()}
PROGRAMS = sorted(SOURCES.keys() - {"faults"})
SANITIZERS = ("address", "thread")


def quick_builds(name):
    """Builds for `make test`: those that a line of the program names. Most take minutes."""
    says = re.search(r"^// quick: ([\w ]+)$", SOURCES[name].read_text(), re.MULTILINE)
    return set(says[1].split()) if says else set()


QUICK = [(name, build) for name in PROGRAMS for build in sorted(quick_builds(name))]
SANITIZED = [(name, build) for build in SANITIZERS for name in PROGRAMS]


def run(name, build, *arguments, **environment):
    build = emulator.BUILDS[build]
    program = emulator.executable(SOURCES[name], build)
    return emulator.run(program, build, *arguments, **environment)


def accept(name, build):
    result = run(name, build)
    if result.returncode == emulator.SKIPPED:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("name", "build"), QUICK)
def test_quick_program(name, build):
    accept(name, build)


@pytest.mark.deep
@pytest.mark.parametrize(("name", "build"), [pair for pair in SANITIZED if pair not in QUICK])
def test_sanitized_program(name, build):
    accept(name, build)


@pytest.mark.deep
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_in_any_order(name):
    """Its checks hold, of all types; with threads and blocks in another order, to the same bits."""

    def digest(seed):
        seeds = {"FASTLOSS_EMULATOR_SEED": str(seed), "FASTLOSS_EMULATOR_DIGEST": "1"}
        printed = coverage.run(SOURCES[name], **seeds)
        return [line for line in printed.splitlines() if line.startswith("digest ")]

    first = digest(0)
    assert first or "plain_runtime.h" not in emulator.files_of(SOURCES[name], coverage.UNIT)
    assert first == digest(1)


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


@pytest.mark.deep
@pytest.mark.skipif(shutil.which("gcov") is None, reason="no gcov")
def test_coverage():
    """The programs run at least 95 % of the lines of each file with kernels."""
    script = [sys.executable, str(emulator.ROOT / "tests/emulator/coverage.py")]
    result = subprocess.run(script, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
