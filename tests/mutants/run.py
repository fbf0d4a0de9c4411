"""Are the tests any good? Plant each bug of table.py in a copy of the tree and run fast tests.

    python tests/mutants/run.py [--all] [part of a name …]

Prints which tests catch which bug; fails if one survives, or if the tests fail without a bug. The
C++ programs that see the changed file come first, then the Python tests up to the first failure;
--all runs both to the end and counts. Needs the extension that `make test` builds: of a copy's only
the objects that see the bug are compiled. All is compiled for the baseline of the processor and
hardly optimised, which is fast and changes no arithmetic that the tests may rely on; two bugs at a
time, each on one thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from table import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("csrc", "fastloss", "tests")
FILES = ("pyproject.toml", "README.md")
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
QUICKLY = ["-DFASTLOSS_SIMD_CLONES=0", "-g0"]
EXTENSION = "_C" + sysconfig.get_config_var("EXT_SUFFIX")
# The glue between engine and tensors: the extension without a bug is compiled as if it had one.
GLUE = "csrc/engines/pairwise_torch.inl"


def without(command: list[str], *options: str) -> list[str]:
    """A command without these options and the names that follow them."""
    pairs = zip(["", *command], command, strict=False)
    return [part for before, part in pairs if part not in options and before not in options]


class Extension:
    """How the installed extension was compiled: a command and the files it saw for every object."""

    def __init__(self) -> None:
        self.folder = ROOT / "build" / "editable"
        if not (self.folder / "build.ninja").exists():
            raise SystemExit("the extension is not built here: run `make test` first")
        steps = json.loads(self.ninja("compdb", "compile"))
        self.commands = {
            step["output"]: without(shlex.split(step["command"]), "-MF", "-o") for step in steps
        }
        self.sees: dict[str, set[str]] = {}
        for entry in self.ninja("deps").strip().split("\n\n"):
            head, *lines = entry.splitlines()
            paths = [Path(os.path.normpath(self.folder / line.strip())) for line in lines]
            ours = [path.relative_to(ROOT) for path in paths if path.is_relative_to(ROOT / "csrc")]
            self.sees[head.partition(": ")[0]] = {str(path) for path in ours}

    def ninja(self, tool: str, *arguments: str) -> str:
        # The one that built it: pip's search path ends with the scripts of this environment.
        path = os.pathsep.join([os.environ["PATH"], sysconfig.get_path("scripts")])
        ninja = shutil.which("ninja", path=path) or "ninja"
        command = [ninja, "-C", str(self.folder), "-t", tool, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def build(self, tree: Path, file: str, target: Path) -> None:
        """Compile the objects that see `file`, which differs in `tree`; link them with the rest."""
        ours, others = [], []
        for name, command in self.commands.items():
            # No test here takes a 16-bit type.
            if file not in self.sees[name] or "float16" in Path(name).stem:
                others.append(name)
                continue
            ours.append(str(tree / Path(name).name))
            moved = [part.replace(f"{ROOT}/csrc", f"{tree}/csrc") for part in command]
            # Of two optimisation levels the last holds.
            self.call(*moved, "-O0", *QUICKLY, "-o", ours[-1], folder=tree)
        torch = Path(importlib.util.find_spec("torch").origin).parent / "lib"
        libraries = [f"-l{name}" for name in ("c10", "torch", "torch_cpu", "torch_python")]
        # Of a function that is in several objects the first one's counts.
        objects = [*ours, *others, f"-L{torch}", *libraries, "-fopenmp"]
        self.call(*CXX, "-shared", *objects, "-o", str(target), folder=tree)

    def call(self, *command: str, folder: Path) -> None:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


class Tree:
    """A scratch copy of the project in which one bug at a time is planted."""

    def __init__(self, folder: Path, extension: Extension, first_only: bool):
        self.folder = folder
        self.extension = extension
        self.first_only = first_only
        ignore = shutil.ignore_patterns("__pycache__", "*.so")
        for part in PARTS:
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        for file in FILES:
            if (ROOT / file).exists():
                shutil.copy(ROOT / file, folder / file)
        flags = (ROOT / "compile_flags.txt").read_text(encoding="utf-8").split()
        self.compile = [*CXX, *flags, *QUICKLY, "-O1", "-I", "csrc"]
        programs = sorted(str(p.relative_to(folder)) for p in folder.glob("csrc/tests/test_*.cpp"))
        sees = {program: self.included_by(program) for program in programs}
        # Those made of few files first: they compile fast and mean the file that they see.
        self.sees = dict(sorted(sees.items(), key=lambda item: len(item[1])))
        self.library = folder / "fastloss" / EXTENSION
        self.clean = folder / "clean.so"
        extension.build(folder, GLUE, self.clean)
        shutil.copy(self.clean, self.library)

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

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

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
            raise RuntimeError(f"the table is stale: {file} holds {text.count(old)} times {old!r}")
        path.write_text(text.replace(old, new), encoding="utf-8")
        try:
            failed = self.failing_programs(file)
            if failed and self.first_only:
                return failed
            if file.startswith("csrc"):
                self.extension.build(self.folder, file, self.library)
            return failed | self.failing_tests()
        finally:
            path.write_text(text, encoding="utf-8")
            shutil.copy(self.clean, self.library)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="count all tests that catch a bug")
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of the name of a bug")
    options = parser.parse_args()
    names = options.names
    mutants = [m for m in MUTANTS if not names or any(name in m[0] for name in names)]
    started = time.monotonic()
    survivors = []
    extension = Extension()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        folders = [Path(folder) / str(i) for i in range(WORKERS)]
        trees: Queue[Tree] = Queue()
        for tree in pool.map(lambda folder: Tree(folder, extension, not options.all), folders):
            trees.put(tree)

        def in_a_tree(work):
            tree = trees.get()
            try:
                return work(tree)
            finally:
                trees.put(tree)

        def attempt(mutant):
            return in_a_tree(lambda tree: tree.failures_with(*mutant[1:]))

        checks = pool.map(in_a_tree, (Tree.failing_tests, Tree.failing_programs))
        clean = {file: count for failed in checks for file, count in failed.items()}
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
