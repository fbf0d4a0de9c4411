"""Benchmarks of fastloss against the bare products, eager, torch.compile and the best torch loop.

    python benchmarks/run.py --quick                    # about three minutes on two cores
    python benchmarks/run.py --out results.jsonl        # everything
    python benchmarks/run.py --only 'info_nce-4096*' --check
    python benchmarks/run.py --from results.jsonl --table-markdown

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
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tqdm import tqdm

import environment
import import_time
import memory
import report
import sides
import timing
from cases import CASES, COMPILE, FASTLOSS, IMPORT_CASE, LIMIT, MODES, TRAIN, Case, by_name

WARM_UP_SIZE = 256  # rows and keys of the small problem that warms a side before its memory is read

Row = dict[str, Any]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few cases, few rounds")
    parser.add_argument(
        "--only", metavar="PATTERN", help="cases whose name matches, * as in a shell"
    )
    parser.add_argument(
        "--without", metavar="SIDE", action="append", default=[], help="skip a side"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, help="seconds of timing a case and pass")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write JSON lines")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="read, do not run")
    parser.add_argument("--table-markdown", action="store_true", help="print the README's table")
    parser.add_argument("--check", action="store_true", help="compare with the bars")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar falls short")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="bars of the ratios, as a PNG")
    parser.add_argument("--memory-of", metavar="JSON", help=argparse.SUPPRESS)
    return parser.parse_args()


def selected(options: argparse.Namespace) -> list[Case]:
    if options.only:
        cases = [case for case in CASES if fnmatch.fnmatch(case.name, options.only)]
        if not cases and not fnmatch.fnmatch(IMPORT_CASE, options.only):
            names = "\n  ".join(case.name for case in CASES)
            sys.exit(f"run.py: no case matches {options.only!r}; there are\n  {names}")
        return cases
    return [case for case in CASES if (case.quick if options.quick else not case.quick_only)]


# Time -------------------------------------------------------------------------------------------


def prepare(
    case: Case, mode: str, names: list[str]
) -> tuple[dict[str, Any], dict[str, sides.Setting], dict[str, str]]:
    """Functions ready to time, the settings their sweeps chose, and reasons for missing sides."""
    inputs, table = sides.inputs_of(case), sides.of(case)
    functions: dict[str, Any] = {}
    settings: dict[str, sides.Setting] = {}
    skipped: dict[str, str] = {}
    expected = None
    for name in sorted(names, key=lambda name: name != FASTLOSS):  # the one to compare with first
        side = table[name]
        try:
            candidates = side.settings(case, mode)
            build = {
                s: lambda s=s, side=side: side.build(case, inputs, mode, s) for s in candidates
            }
            settings[name] = timing.fastest(build)
            function = build[settings[name]]()
        except sides.Unavailable as reason:
            skipped[name] = str(reason)
            continue
        result = function()
        if name == FASTLOSS and result is not None:
            expected = tuple(part.detach() for part in result)
        sides.compare(name, result, expected)
        functions[name] = function
    return functions, settings, skipped


def time_case(case: Case, mode: str, names: list[str], options: argparse.Namespace) -> list[Row]:
    functions, settings, skipped = prepare(case, mode, names)
    budget = options.budget or (5 if options.quick else 40)
    rounds = (3, 30) if options.quick else (5, 100)
    samples, calls = timing.interleave(functions, budget=budget, rounds=rounds)
    rows: list[Row] = []
    for name in names:
        row: Row = {"case": case.name, "loss": case.loss, "mode": mode, "side": name, **case.sizes}
        if name in skipped:
            rows.append({**row, "skipped": skipped[name]})
            continue
        own = samples[name]
        row |= {
            "setting": settings[name],
            "seconds": timing.quantiles(own),
            "rounds": len(own),
            "calls": calls[name],
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
    case, mode, name = by_name(request["case"]), request["mode"], request["side"]
    setting = tuple(request["setting"]) if request["setting"] else None
    torch.set_num_threads(request["threads"])
    small_n, small_m = min(case.n, WARM_UP_SIZE), min(case.m, WARM_UP_SIZE)
    small = Case("warm-up", case.loss, small_n, small_m, case.d, similarity=case.similarity)
    sides.of(small)[name].build(small, sides.inputs_of(small), mode, setting)()

    inputs, side = sides.inputs_of(case), sides.of(case)[name]
    if setting is None:
        # Preparing copies the inputs and, for torch.compile, compiles: not the loss's memory.
        return memory.peak_extra_bytes(side.build(case, inputs, mode, setting))
    return memory.peak_extra_bytes(lambda: side.build(case, inputs, mode, setting)())


def memory_of(row: Row, threads: int) -> int | None:
    """Peak extra memory of a row's side; buffers that it prepares are counted."""
    request = {key: row[key] for key in ("case", "mode", "side", "setting")}
    request["threads"] = threads
    command = [sys.executable, __file__, "--memory-of", json.dumps(request)]
    done = subprocess.run(
        command, env={**os.environ, **memory.ENVIRONMENT}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"measuring memory of {request} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


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


def run(options: argparse.Namespace) -> list[Row]:
    torch.set_num_threads(options.threads)
    command = " ".join(["python benchmarks/run.py", *sys.argv[1:]])
    about = {**environment.describe(command), "memory_is": memory.METHOD}
    rows: list[Row] = []

    def keep(new: list[Row]) -> None:
        rows.extend({**row, "environment": about} for row in new)
        if options.out:  # after every case, so that an interrupted run keeps what it has
            report.write(rows, options.out)

    cases = selected(options)
    bar = tqdm(total=len(cases) * len(MODES), unit="case", dynamic_ncols=True)
    for case in cases:
        for mode in MODES:
            bar.set_description(f"{case.name}, {mode}")
            names = [name for name in sides.of(case) if name not in options.without]
            if options.quick and not case.compile_in_quick and COMPILE in names:
                names.remove(COMPILE)
            new = time_case(case, mode, names, options)
            gc.collect()
            if not options.no_memory and (mode == TRAIN or not options.quick):
                for row in new:
                    if "skipped" not in row and row["side"] != LIMIT:
                        row["peak_bytes"] = memory_of(row, options.threads)
                        if row["side"] == FASTLOSS and mode == TRAIN:
                            row["bound_bytes"] = case.bound_bytes
            keep(new)
            bar.update()
    bar.close()
    if not options.only or fnmatch.fnmatch(IMPORT_CASE, options.only):
        keep([import_row(options)])
    return rows


def main() -> int:
    options = parse_arguments()
    if options.memory_of:
        print(json.dumps(measure_memory(json.loads(options.memory_of))))
        return 0
    rows = report.read(options.source) if options.source else run(options)
    if not rows:
        sys.exit("run.py: no rows")
    console = Console(width=None if sys.stdout.isatty() else 180)
    if options.table_markdown:
        print(report.markdown(rows))
    else:
        report.print_table(rows, console)
    if options.plot:
        report.plot(rows, options.plot)
    holds = report.check(rows, console) if options.check or options.strict else True
    return 1 if options.strict and not holds else 0


if __name__ == "__main__":
    sys.exit(main())
