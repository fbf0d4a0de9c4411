"""Benchmarks of fastloss against the bare products, eager, torch.compile, plain loops and peers.

    fastloss-bench --quick                          # about three minutes on two cores
    fastloss-bench --out results.jsonl --check      # everything, half an hour
    fastloss-bench --only 'clip_loss-*' 'info_nce-4096*'
    fastloss-bench --loss clip_loss --n 1024 4096 16384 --d 256 --dtype float32 bfloat16
    fastloss-bench --loss ranknet_loss --n 64 --m 500 --labels binary continuous
    fastloss-bench --from results.jsonl --table-markdown --plot plots
    fastloss-bench --compare old.jsonl new.jsonl

All sides of a case run in one process, interleaved: every round times each side once, in random
order, and ratios are formed within a round. Figures are medians with the 20 % and 80 % quantiles.
Buffers of the baselines are allocated before the clock starts. Before timing, results are compared
with those of fastloss. Peak memory is measured in a process of its own (memory.py).
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import json
import os
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tqdm import tqdm

import fastloss

from . import cases as known
from . import compare, environment, import_time, memory, plots, report, sides, timing
from .cases import (
    BINARY,
    CASES,
    COMPILE,
    DOT,
    EAGER,
    FASTLOSS,
    FLOAT32,
    HALF,
    IMPORT_CASE,
    LIMIT,
    QUARTER,
    RAX,
    TORCH_OWN,
    TRAIN,
    Case,
)

# Of the small problem that warms a side before its memory is read.
WARM_UP_SIZE = 256  # rows and keys, lists and their items
WARM_UP_LENGTH = 4096  # items of a single list, long enough for the method of long ones
# Sides whose memory tells nothing new, or cannot be told from that of their compiler.
WEIGHED_QUICKLY = (FASTLOSS, EAGER, TORCH_OWN)
NOT_WEIGHED = (LIMIT, COMPILE, FLOAT32, DOT, QUARTER, HALF, BINARY, RAX)

Row = dict[str, Any]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="fastloss-bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to measure")
    what.add_argument("--quick", action="store_true", help="a few cases, few rounds")
    what.add_argument(
        "--only", metavar="PATTERN", nargs="+", help="cases whose name matches, * as in a shell"
    )
    what.add_argument("--list", action="store_true", help="print the names of the cases")
    what.add_argument("--without", metavar="SIDE", action="append", default=[], help="skip a side")
    what.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cuda: losses with CUDA kernels, timed by events; not verified on hardware",
    )
    grid = parser.add_argument_group("a grid of shapes of your own")
    grid.add_argument(
        "--loss",
        choices=known.LOSSES,
        nargs="+",
        metavar="LOSS",
        help="those of features by default",
    )
    grid.add_argument("--n", type=_size, nargs="+", help="queries, lists or rows")
    grid.add_argument(
        "--m", type=_size, nargs="+", help="keys, items, negatives or classes; m = n by default"
    )
    grid.add_argument("--d", type=_size, nargs="+", help="features, of losses that have them")
    grid.add_argument("--labels", choices=known.LABELS, nargs="+", help="of lists")
    grid.add_argument("--dtype", choices=known.DTYPES, nargs="+")
    how = parser.add_argument_group("how")
    how.add_argument("--threads", type=_size, default=min(2, os.cpu_count() or 1))
    how.add_argument("--budget", type=float, help="seconds of timing a case and pass")
    how.add_argument("--no-memory", action="store_true", help="do not measure memory")
    result = parser.add_argument_group("results")
    result.add_argument("--out", type=Path, metavar="FILE", help="write JSON lines")
    result.add_argument("--from", type=Path, metavar="FILE", dest="source", help="read, do not run")
    result.add_argument("--compare", type=Path, nargs=2, metavar=("OLD", "NEW"))
    result.add_argument("--table-markdown", action="store_true", help="print the README's table")
    result.add_argument("--plot", type=Path, metavar="DIR", help="write plots of time and memory")
    result.add_argument("--check", action="store_true", help="compare with the bars")
    result.add_argument("--strict", action="store_true", help="exit 1 when a bar falls short")
    parser.add_argument("--weigh", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _size(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be positive, got {value}")
    return value


def selected(options: argparse.Namespace) -> list[Case]:
    cases = list(CASES)
    if options.loss or options.n or options.m or options.d or options.dtype or options.labels:
        cases = known.grid(
            options.loss or (known.LISTS if options.labels else known.FEATURES),
            options.n or [4096],
            options.m,
            options.d or [512],
            options.dtype or known.DTYPES[:1],
            options.labels or ["graded"],
        )
        if not cases:
            sys.exit("fastloss-bench: no case: clip_loss has m = n, others m >= n")
    elif not options.only:
        cases = [c for c in cases if (c.quick if options.quick else not c.quick_only)]
    if options.only:
        for pattern in options.only:
            if not fnmatch.filter([*(c.name for c in cases), IMPORT_CASE], pattern):
                names = "\n  ".join(case.name for case in cases)
                sys.exit(f"fastloss-bench: no case matches {pattern!r}; there are\n  {names}")
        cases = [c for c in cases if any(fnmatch.fnmatch(c.name, p) for p in options.only)]
    if options.device == "cuda":
        cases = [case for case in cases if case.loss in fastloss._cuda.LOSSES]
        if not cases:
            sys.exit("fastloss-bench: --device cuda: none of these losses has CUDA kernels")
    return [replace(case, device=options.device) for case in cases]


# Time -------------------------------------------------------------------------------------------


def choose_settings(case: Case, names: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The setting that each side's sweep chose, once for both passes, and the sides that cannot
    run at all."""
    table = sides.of(case)
    settings: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    problems: dict[Case, sides.Inputs] = {}
    for name in names:
        side = table[name]
        trial = side.trial(case)
        if trial not in problems:
            problems[trial] = sides.inputs_of(trial)

        def build(setting: Any, side=side, trial=trial):
            return lambda: side.build(trial, problems[trial], TRAIN, setting)

        try:
            settings[name] = timing.fastest({s: build(s) for s in side.settings(case)})
        except sides.Unavailable as reason:
            skipped[name] = str(reason)
    return settings, skipped


def prepare(case: Case, mode: str, settings: dict[str, Any], skipped: dict[str, str]):
    """Functions ready to time, the seconds of their first calls, and how far each one's result is
    from that of fastloss."""
    inputs, table = sides.inputs_of(case), sides.of(case)
    functions: dict[str, Any] = {}
    first_calls: dict[str, float] = {}
    errors: dict[str, float | None] = {}
    expected = None
    for name in sorted(settings, key=lambda name: name != FASTLOSS):  # the one to compare with
        try:
            function = table[name].build(case, inputs, mode, settings[name])
            first_call = timing.synchronised(function, case.device)
            if table[name].compiles:
                first_call()
            start = time.perf_counter()
            result = first_call()
            first_calls[name] = time.perf_counter() - start
        except sides.Unavailable as reason:
            skipped[name] = str(reason)
            continue
        if name == FASTLOSS and result is not None:
            expected = tuple(part.detach() for part in result)
        errors[name] = sides.error_of(result, expected)
        if errors[name] is not None and not errors[name] <= sides.tolerance(case):
            raise AssertionError(f"{case.name}, {mode}: {name} differs by {errors[name]:.2g}")
        functions[name] = function
    return functions, first_calls, errors


def time_case(
    case: Case,
    mode: str,
    settings: dict[str, Any],
    skipped: dict[str, str],
    options: argparse.Namespace,
) -> list[Row]:
    skipped = dict(skipped)
    functions, first_calls, errors = prepare(case, mode, settings, skipped)
    table = sides.of(case)
    samples, calls = timing.interleave(
        functions,
        budget=options.budget or case.budget * (0.2 if options.quick else 1),
        rounds=(3, 60),
        first_calls=first_calls,
        sparing=[name for name in functions if table[name].sparing],
    )
    rows: list[Row] = []
    for name in (*settings, *(name for name in skipped if name not in settings)):
        row: Row = {"case": case.name, "mode": mode, "side": name, **case.shape}
        if name in skipped:
            rows.append({**row, "skipped": skipped[name]})
            continue
        own = samples[name]
        row |= {
            "setting": settings[name],
            "seconds": timing.quantiles(own),
            "samples": [float(f"{value:.4g}") for value in own],
            "rounds": len(own),
            "calls": calls[name],
            "error": errors[name],
            "ratio_to": {
                other: timing.ratios(own, samples[other]) for other in samples if other != name
            },
        }
        if name == LIMIT:
            row["products"] = case.products if mode == TRAIN else 1
        rows.append(row)
    return rows


# Memory -----------------------------------------------------------------------------------------


def measure_memory(request: dict[str, Any]) -> int | None:
    """In the process made for it: warm up on a small problem, then one call of the real one."""
    case, mode, name = Case(**request["case"]), request["mode"], request["side"]
    setting = tuple(request["setting"]) if request["setting"] else None
    torch.set_num_threads(request["threads"])
    longest = WARM_UP_LENGTH if case.n == 1 and not case.d else WARM_UP_SIZE
    small = replace(case, n=min(case.n, WARM_UP_SIZE), m=min(case.m, longest))
    sides.of(small)[name].build(small, sides.inputs_of(small), mode, setting)()

    inputs, side = sides.inputs_of(case), sides.of(case)[name]
    peak = memory.peak_extra_bytes if case.device == "cpu" else memory.peak_extra_cuda_bytes
    if setting is None:
        # Preparing copies the inputs: not the loss's memory.
        return peak(side.build(case, inputs, mode, setting))
    return peak(lambda: side.build(case, inputs, mode, setting)())


def weighs(case: Case, row: Row, quick: bool) -> bool:
    """Whether the memory of a row's side is measured: a process, and a call, that take time."""
    side = row["side"]
    if "skipped" in row or not case.full or side in NOT_WEIGHED:
        return False
    if sides.of(case)[side].sparing and row["seconds"]["median"] > timing.VERY_LONG:
        return False
    return not quick or side in WEIGHED_QUICKLY


def weigh_requests() -> None:
    """In a process that has imported everything and run nothing: for each line of stdin a fork that
    measures what the line asks for. Imports take seconds, forks none."""
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                print(json.dumps(measure_memory(json.loads(line))), flush=True)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1] != 0:
            print("failed", flush=True)


class Weigher:
    """Measures memory, each time in a process of its own."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def memory_of(self, case: Case, row: Row, threads: int) -> int | None:
        """Peak extra memory of a row's side; buffers that it prepares are counted."""
        request = {key: row[key] for key in ("mode", "side", "setting")}
        request |= {"case": case.shape, "threads": threads}
        if case.device == "cpu" and not memory.is_offered():
            return None
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __package__, "--weigh"],
                env={**os.environ, **memory.ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        try:
            return json.loads(answer)
        except ValueError:
            raise RuntimeError(f"measuring memory of {request} failed: {answer!r}") from None

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()


# All --------------------------------------------------------------------------------------------


def import_row(options: argparse.Namespace) -> Row:
    samples = import_time.measure(rounds=3 if options.quick else 9)
    return {
        "case": IMPORT_CASE,
        "mode": "import",
        "side": FASTLOSS,
        "seconds": timing.quantiles(samples["added"]),
        "torch_seconds": timing.quantiles(samples["torch"]),
        "rounds": len(samples["added"]),
        "ratio_to": {},
    }


def wanted_sides(case: Case, options: argparse.Namespace) -> list[str]:
    names = [name for name in sides.of(case) if name not in options.without]
    if COMPILE in names and (options.quick or not case.compiled):  # tens of seconds a case
        names.remove(COMPILE)
    return names


def run(options: argparse.Namespace) -> list[Row]:
    cases = selected(options)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("fastloss-bench: --device cuda: torch finds no CUDA device")
    if options.device == "cuda" and not fastloss._cuda.BUILT:
        sys.exit("fastloss-bench: --device cuda: this fastloss was built without CUDA kernels")
    timing.use(options.device)
    torch.set_num_threads(options.threads)
    # The machine's folders are nobody's business.
    arguments = [Path(a).name if os.path.isabs(a) else a for a in sys.argv[1:]]
    command = " ".join(["fastloss-bench", *arguments])
    memory_is = memory.METHOD if options.device == "cpu" else memory.CUDA_METHOD
    about = {**environment.describe(command, options.device), "memory_is": memory_is}
    rows: list[Row] = []

    def keep(new: list[Row]) -> None:
        rows.extend({**row, "environment": about} for row in new)
        if options.out:  # after every case, so that an interrupted run keeps what it has
            report.write(rows, options.out)

    total = sum(len(case.modes) for case in cases)
    weigher = Weigher()
    bar = tqdm(total=total, unit="pass", dynamic_ncols=True)
    for case in cases:
        bar.set_description(case.name)
        settings, skipped = choose_settings(case, wanted_sides(case, options))
        for mode in case.modes:
            new = time_case(case, mode, settings, skipped, options)
            gc.collect()
            for row in new:
                if mode == TRAIN and not options.no_memory and weighs(case, row, options.quick):
                    row["peak_bytes"] = weigher.memory_of(case, row, options.threads)
                    if row["side"] == FASTLOSS:
                        row["bound_bytes"] = case.bound_bytes
            keep(new)
            bar.update()
    bar.close()
    weigher.close()
    asked = options.only or ["*"] if not options.loss and not options.n else []
    if any(fnmatch.fnmatch(IMPORT_CASE, pattern) for pattern in asked):
        keep([import_row(options)])
    return rows


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.weigh:
        weigh_requests()
        return 0
    if options.list:
        print("\n".join(case.name for case in selected(options)))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 180)
    if options.compare:
        old, new = (report.read(path) for path in options.compare)
        compare.print_table(old, new, console)
        return 0
    rows = report.read(options.source) if options.source else run(options)
    if not rows:
        sys.exit("fastloss-bench: no rows")
    if options.table_markdown:
        print(report.markdown(rows))
    else:
        report.print_table(rows, console)
    if options.plot:
        for path in plots.write(rows, options.plot):
            console.print(f"wrote {path}")
    holds = report.check(rows, console) if options.check or options.strict else True
    return 1 if options.strict and not holds else 0
