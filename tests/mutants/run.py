"""Are the tests any good? Plant each bug of table.py in a copy of the tree and run fast tests.

    python tests/mutants/run.py [--all] [part of a name …]

Prints which tests catch which bug; fails if one survives, or if the tests fail without a bug. The
C++ programs that see the changed file come first, then the Python tests up to the first failure;
--all runs both to the end and counts. Needs what building fastloss needs. The extension of a copy
is compiled without optimisation, which is fast and changes no arithmetic that its tests may rely
on; two at a time, each on one thread.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from table import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("csrc", "fastloss", "_build", "tests")
FILES = (
    *("setup.py", "pyproject.toml", "compile_flags.txt", "cuda_flags.txt"),
    *("README.md", "LICENSE"),
)
WORKERS = 2

# Seconds rather than minutes, and every layer of the tests.
TESTS = (
    "test_written_values.py",
    "test_identities.py",
    "test_score_identities.py",
    "test_gradients.py",
    "test_edges.py",
    "test_properties.py",
    "test_memory.py",
)
SELECTION = (
    "written_values or identities or gradcheck or test_invariance"
    " or (test_edge and none and not 2_to_the_31) or (every_variant and none and all)"
    " or (workspace_limit_does_not and mean and bias)"
    " or backward_twice or (sum and ones) or products or costs_one or few_rows"
)
# Bugs in the losses of scores and of one set, and in those of one pass, are caught by the C++
# programs; their Python tests would only take time here.
OTHERS = (
    "siglip or nt_xent or sup_con or "
    "ranknet or listnet or hinge or bpr or pairwise_margin or sampled or kl_div or binary_cross"
    " or (cross_entropy and not linear_cross_entropy) or triplet or contrastive_loss"
)
PYTEST = [
    "-q",
    "-p",
    "no:cacheprovider",
    "--tb=no",
    "-rf",
    "-k",
    f"({SELECTION}) and not ({OTHERS})",
]
CXX = shlex.split(os.environ.get("CXX", "g++"))


NO_KERNELS = """
#include <stdexcept>
#include "engines/pairwise_torch.h"
#include "losses/registry.h"
namespace fastloss {
template <template <class> class Loss, class S>
PairwiseResult pairwise_forward_as(const std::string&, const PairwiseTensors&, const std::string&,
                                   const Wanted&) {
  throw std::logic_error("left out");
}
template <template <class> class Loss, class S>
PairwiseGradientTensors pairwise_backward_as(const std::string&, const PairwiseTensors&,
                                             const at::Tensor&, const at::Tensor&, const Wanted&) {
  throw std::logic_error("left out");
}
#define FASTLOSS_INSTANTIATE_PAIRWISE(S, Functor)                                               \\
  template PairwiseResult pairwise_forward_as<Functor, S>(                                      \\
      const std::string&, const PairwiseTensors&, const std::string&, const Wanted&);           \\
  template PairwiseGradientTensors pairwise_backward_as<Functor, S>(                            \\
      const std::string&, const PairwiseTensors&, const at::Tensor&, const at::Tensor&,         \\
      const Wanted&);
}  // namespace fastloss
"""


class Tree:
    """A scratch copy of the project in which one bug at a time is planted."""

    def __init__(self, folder: Path, first_only: bool):
        self.folder = folder
        self.first_only = first_only
        ignore = shutil.ignore_patterns("__pycache__", "*.so")
        for part in PARTS:
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        for file in FILES:
            if (ROOT / file).exists():
                shutil.copy(ROOT / file, folder / file)
        for dtype in ("bfloat16", "float16"):
            self.leave_out(dtype)
        flags = folder / "compile_flags.txt"
        # The programs as they are tested, the extension quickly.
        self.compile = [*CXX, *flags.read_text(encoding="utf-8").split(), "-I", "csrc"]
        flags.write_text(re.sub(r"-O\d", "-O0", flags.read_text(encoding="utf-8")))
        programs = sorted(str(p.relative_to(folder)) for p in folder.glob("csrc/tests/test_*.cpp"))
        self.sees = {program: self.included_by(program) for program in programs}
        self.build()
        self.stale = False  # the extension holds a bug that is no longer in the sources

    def included_by(self, program: str) -> set[str]:
        """The files that a C++ program is made of."""
        rule = subprocess.run(
            [*self.compile, "-MM", program],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(rule.stdout.replace("\\\n", " ").split()[1:])

    def leave_out(self, dtype: str) -> None:
        """Compile no kernels of a 16-bit type: half the time, and the tests here take none."""
        path = self.folder / "csrc" / "engines" / f"pairwise_{dtype}.cpp"
        text = path.read_text(encoding="utf-8").replace("pairwise_torch.inl", "pairwise_none.inl")
        path.write_text(text, encoding="utf-8")
        (path.parent / "pairwise_none.inl").write_text(NO_KERNELS, encoding="utf-8")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "MAX_JOBS": "1",
        }
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def build(self) -> None:
        built = self.run("setup.py", "-q", "build_ext", "--inplace")
        if built.returncode:
            raise RuntimeError(built.stdout + built.stderr)

    def failing_programs(self, file: str | None = None) -> dict[str, int]:
        """Failed C++ programs, of those that see `file`."""
        failed: dict[str, int] = {}
        for program in (p for p, files in self.sees.items() if file is None or file in files):
            built = subprocess.run(
                [*self.compile, program, "-o", "program"],
                cwd=self.folder,
                capture_output=True,
                check=False,
            )
            # What does not compile is caught by the compiler, in the extension too.
            run = [str(self.folder / "program")]
            if built.returncode or subprocess.run(run, capture_output=True, check=False).returncode:
                failed[f"test_C++ {Path(program).stem[5:]}"] = 1
                if self.first_only:
                    break
        return failed

    def failing_tests(self) -> dict[str, int]:
        """Failed Python tests by file."""
        tests = [f"tests/{file}" for file in TESTS]
        most = "--maxfail=1" if self.first_only else "--maxfail=20"
        result = self.run("-m", "pytest", *PYTEST, most, *tests)
        failed: dict[str, int] = {}
        for file in re.findall(r"^(?:FAILED|ERROR) tests/(\w+)\.py", result.stdout, re.MULTILINE):
            failed[file] = failed.get(file, 0) + 1
        if result.returncode and not failed:  # a crash is a catch, too
            if result.returncode > 0 and "passed" not in result.stdout:
                raise RuntimeError(result.stdout + result.stderr)
            failed["crash"] = 1
        return failed

    def failures_with(self, file: str, old: str, new: str) -> dict[str, int]:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise RuntimeError(f"table.py is stale: {file} holds {text.count(old)} times {old!r}")
        path.write_text(text.replace(old, new), encoding="utf-8")
        try:
            failed = self.failing_programs(file)
            if failed and self.first_only:
                return failed
            compiled = file.startswith("csrc")
            if compiled or self.stale:
                self.build()
                self.stale = compiled
            return failed | self.failing_tests()
        finally:
            path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="count all tests that catch a bug")
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of the name of a bug")
    options = parser.parse_args()
    names = options.names
    mutants = [m for m in MUTANTS if not names or any(name in m[0] for name in names)]
    started = time.monotonic()
    survivors = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        folders = [Path(folder) / str(i) for i in range(WORKERS)]
        trees: Queue[Tree] = Queue()
        for tree in pool.map(lambda folder: Tree(folder, not options.all), folders):
            trees.put(tree)

        def attempt(mutant):
            tree = trees.get()
            try:
                if mutant:
                    return tree.failures_with(*mutant[1:])
                return tree.failing_programs() | tree.failing_tests()
            finally:
                trees.put(tree)

        clean = pool.submit(attempt, None).result()
        if clean:
            print(f"the tests fail without a bug: {clean}")
            return 1
        for mutant, failed in zip(mutants, pool.map(attempt, mutants), strict=True):
            caught = ", ".join(f"{file[5:] or file} {count}" for file, count in failed.items())
            print(f"{'caught  ' if failed else 'SURVIVED'}  {mutant[0]:42} {caught}", flush=True)
            if not failed:
                survivors.append(mutant[0])
    print(f"{len(mutants)} bugs, {len(survivors)} survived, {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
