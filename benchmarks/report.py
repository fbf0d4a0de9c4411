"""Tables, the README's table and the verdict on the bars, all from the rows of a result file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .cases import (
    CASES,
    CLOSED_FORM,
    EAGER,
    FASTLOSS,
    IMPORT_BAR,
    IMPORT_CASE,
    LIMIT,
    LOOP,
    TORCH,
    TRAIN,
)

Row = dict[str, Any]


def write(rows: Iterable[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _find(rows: list[Row], case: str, mode: str, side: str) -> Row | None:
    for row in rows:
        if (row["case"], row["mode"], row["side"]) == (case, mode, side):
            return None if "skipped" in row else row
    return None


# Numbers ----------------------------------------------------------------------------------------


def _unit(seconds: float) -> tuple[float, str]:
    return next(
        u for u in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if seconds >= u[0] or u[1] == "µs"
    )


def _time(seconds: float) -> str:
    scale, unit = _unit(seconds)
    return f"{seconds / scale:.3g} {unit}"


def _times(q: dict[str, float]) -> str:
    """Median and quantiles, all in the unit of the median."""
    scale, unit = _unit(q["median"])
    return _spread({name: value / scale for name, value in q.items()}, 1) + f" {unit}"


def _spread(q: dict[str, float] | None, digits: int = 2) -> str:
    if q is None:
        return ""
    return f"{q['median']:.{digits}f} [{q['q20']:.{digits}f}, {q['q80']:.{digits}f}]"


def _bytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:,.1f} MB"


def machine(rows: list[Row]) -> str:
    """One line on where the rows come from."""
    at = rows[0]["environment"]
    build = at["fastloss"]
    parts = [
        f"{at['cpu']}, {at['cores']} cores",
        f"{at['threads']} threads",
        f"torch {at['torch']}",
        f"fastloss {build['version']} ({build.get('simd')}, {build.get('matrix_product')})",
        *([f"commit {at['commit']}"] if at["commit"] else []),
        at["date"],
    ]
    return "; ".join(parts)


# Tables -----------------------------------------------------------------------------------------


def print_table(rows: list[Row], console: Console) -> None:
    table = Table(caption=machine(rows))
    for column in ("case", "pass", "side"):
        table.add_column(column, no_wrap=True)
    for column in ("time [20 %, 80 %]", "÷ products", "÷ fastloss", "peak memory"):
        table.add_column(column, justify="right", no_wrap=True)
    previous = None
    for row in rows:
        key = (row["case"], row["mode"])
        labels = key if key != previous else ("", "")
        if previous is not None and key != previous:
            table.add_section()
        previous = key
        setting = ""
        if row.get("setting") and row["setting"][1] < row["m"]:
            setting = " ({1} {0})".format(*row["setting"])
        if "skipped" in row:
            table.add_row(*labels, f"{row['side']}: skipped, {row['skipped']}", "", "", "", "")
            continue
        ratio = row["ratio_to"]
        table.add_row(
            *labels,
            row["side"] + setting,
            _times(row["seconds"]),
            _spread(ratio.get(LIMIT)),
            _spread(ratio.get(FASTLOSS)),
            _bytes(row.get("peak_bytes")),
        )
    console.print(table)


def markdown(rows: list[Row]) -> str:
    """The README's table: times as multiples of the bare products, and peak extra memory."""
    others = (FASTLOSS, LOOP, CLOSED_FORM, EAGER, TORCH)
    memory = (FASTLOSS, EAGER)
    header = ["loss, n × m × d", "pass", LIMIT, *others, *(f"memory: {side}" for side in memory)]
    lines = [" | ".join(header), " | ".join(["---", "---", *["---:"] * (len(header) - 2)])]
    for limit in rows:
        if limit["side"] != LIMIT or "skipped" in limit:
            continue
        case, mode = limit["case"], limit["mode"]
        shape = f"{limit['loss']}, {limit['n']} × {limit['m']} × {limit['d']}"
        extra = case.split("-", 2)[2:]  # similarity, workspace, dtype
        cells = [", ".join([shape, *extra]), mode, _time(limit["seconds"]["median"])]
        for side in others:
            row = _find(rows, case, mode, side)
            cells.append(f"{row['ratio_to'][LIMIT]['median']:.2f}" if row else "–")
        for side in memory:
            row = _find(rows, case, mode, side)
            cells.append((row and _bytes(row.get("peak_bytes"))) or "–")
        lines.append(" | ".join(cells))
    table = "\n".join(f"| {line} |" for line in lines)
    memory_method = rows[0]["environment"]["memory_is"]
    return (
        f"{table}\n\n{machine(rows)}. Times are multiples of the bare products, formed round by "
        f"round, median. Peak extra memory: {memory_method}. Command: "
        f"`{rows[0]['environment']['command']}`."
    )


# The bars ---------------------------------------------------------------------------------------


def check(rows: list[Row], console: Console) -> bool:
    """Print each bar next to what was measured; True when none falls short."""
    table = Table(title="bars")
    for column in ("case", "bar"):
        table.add_column(column)
    for column in ("measured [20 %, 80 %]", "limit", ""):
        table.add_column(column, justify="right")
    verdicts: list[bool] = []

    def add(case: str, bar: str, measured: str, limit: str, holds: bool) -> None:
        verdicts.append(holds)
        table.add_row(
            case, bar, measured, limit, "[green]pass[/]" if holds else "[red]falls short[/]"
        )

    for case in CASES:
        for bar in case.bars:
            row = _find(rows, case.name, bar.mode, FASTLOSS)
            ratio = row["ratio_to"].get(bar.against) if row else None
            if bar.needs and row and bar.needs not in row["environment"]["instruction_sets"]:
                continue  # of machines that have it
            if ratio is not None:
                what = f"{bar.mode} ÷ {bar.against}"
                holds = ratio["median"] <= bar.limit
                add(case.name, what, _spread(ratio, 3), f"{bar.limit:.2f}", holds)
        row = _find(rows, case.name, TRAIN, FASTLOSS)
        if row and row.get("peak_bytes") is not None:
            peak, bound = row["peak_bytes"], case.bound_bytes
            add(case.name, "peak extra memory", _bytes(peak), _bytes(bound), peak <= bound)
    row = _find(rows, IMPORT_CASE, "import", FASTLOSS)
    if row:
        holds = row["seconds"]["median"] < IMPORT_BAR
        measured = _times(row["seconds"])
        add(IMPORT_CASE, "added to importing torch", measured, _time(IMPORT_BAR), holds)
    console.print(table)
    console.print(f"{sum(verdicts)} of {len(verdicts)} bars hold")
    return all(verdicts)
