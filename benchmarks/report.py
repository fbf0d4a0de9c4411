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
    CHUNKED,
    CLOSED_FORM,
    COMPILE,
    EAGER,
    FASTLOSS,
    HALF,
    IMPORT_BAR,
    IMPORT_CASE,
    LIMIT,
    LOOP,
    MEMORY,
    METRIC,
    METRIC_LEARNING,
    PAIRS,
    RAX,
    TIME,
    TORCH,
    TORCH_OWN,
    TRAIN,
    TRIPLETS,
    Bar,
)

Row = dict[str, Any]


def write(rows: Iterable[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _has_products(row: Row) -> bool:
    """Bare matrix products are one of its sides."""
    return bool(row.get("d")) and row["loss"] not in TRIPLETS


def _unit_side(row: Row) -> str:
    """The side that times are multiples of: eager for a loss without matrix products, or what
    stands for eager: torch's own function, chunks or our loop where the whole is too large."""
    if _has_products(row):
        return LIMIT
    known = {row["side"], *row.get("ratio_to", ())}
    units = (EAGER, TORCH_OWN, CHUNKED, PAIRS, METRIC_LEARNING, HALF)
    return next((side for side in units if side in known), EAGER)


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


def _digits(ratio_to: dict[str, dict[str, float]], side: str) -> int:
    """Of a ratio in the table: more where two would show nothing."""
    return 2 if side not in ratio_to or ratio_to[side]["median"] > 0.095 else 4


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio > 0.095 else f"{ratio:.2g}"


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


def _whole(row: Row) -> int:
    """What a setting counts, if nothing is cut up."""
    return row["n"] * row["m"] ** 2 if row["setting"][0] == "pairs" else row["m"]


def print_table(rows: list[Row], console: Console) -> None:
    table = Table(caption=machine(rows))
    for column in ("case", "pass", "side"):
        table.add_column(column, no_wrap=True)
    products = {_has_products(row) for row in rows if "loss" in row}
    unit = {(True,): "÷ products", (False,): "÷ eager"}.get(tuple(products), "÷ products, eager")
    for column in ("time [20 %, 80 %]", unit, "÷ fastloss", "peak memory"):
        table.add_column(column, justify="right", no_wrap=True)
    previous = None
    for row in rows:
        key = (row["case"], row["mode"])
        labels = key if key != previous else ("", "")
        if previous is not None and key != previous:
            table.add_section()
        previous = key
        setting = ""
        if row.get("setting") and row["setting"][1] < _whole(row):
            setting = " ({1:,} {0})".format(*row["setting"])
        if "skipped" in row:
            table.add_row(*labels, f"{row['side']}: skipped, {row['skipped']}", "", "", "", "")
            continue
        ratio = row["ratio_to"]
        table.add_row(
            *labels,
            row["side"] + setting,
            _times(row["seconds"]),
            _spread(ratio.get(_unit_side(row)), _digits(ratio, _unit_side(row))),
            _spread(ratio.get(FASTLOSS), _digits(ratio, FASTLOSS)),
            _bytes(row.get("peak_bytes")),
        )
    console.print(table)


def markdown(rows: list[Row]) -> str:
    """The README's tables: times as multiples of the bare products, or of eager for losses without
    them, and peak extra memory."""
    measured = [row for row in rows if "loss" in row and "skipped" not in row]
    of_features = [row for row in measured if _has_products(row)]
    of_metric = [row for row in measured if row["loss"] in (*METRIC, *TRIPLETS)]
    points = {case.name for case in CASES if not case.full}  # of curves; a plot tells more
    left_out = [*points, *(row["case"] for row in of_metric)]
    of_scores = [row for row in measured if not row.get("d") and row["case"] not in left_out]
    parts, units = [], []
    if of_features:
        sides = (FASTLOSS, LOOP, CLOSED_FORM, EAGER, TORCH)
        parts.append(_markdown_table(of_features, "loss, n × m × d", LIMIT, sides, EAGER))
        units.append("the bare products")
    if of_scores:
        sides = (FASTLOSS, PAIRS, COMPILE, RAX)
        parts.append(_markdown_table(of_scores, "loss, n × m", EAGER, sides))
    if of_metric:
        sides = (FASTLOSS, COMPILE, METRIC_LEARNING)
        parts.append(_markdown_table(of_metric, "loss, n × m (× d)", EAGER, sides))
    if of_scores or of_metric:
        units.append("eager")
    about = rows[0]["environment"]
    parts.append(
        f"{machine(rows)}. Times are multiples of {' or '.join(units)}, formed round by round, "
        f"median. Peak extra memory: {about['memory_is']}. Command: `{about['command']}`."
    )
    return "\n\n".join(parts)


def _markdown_table(
    rows: list[Row], first: str, unit: str, others: tuple[str, ...], memory_of: str | None = None
) -> str:
    """A line a case and pass: the time of the unit, others in it, and the memory of fastloss and of
    `memory_of`, the unit by default."""
    weighed = (FASTLOSS, memory_of or unit)
    header = [first, "pass", unit, *others, *(f"memory: {side}" for side in weighed)]
    lines = [" | ".join(header), " | ".join(["---", "---", *["---:"] * (len(header) - 2)])]
    for row in rows:
        against = _unit_side(row)
        if row["side"] != against:
            continue
        case, mode = row["case"], row["mode"]
        shape = " × ".join(str(row[size]) for size in ("n", "m", "d") if row.get(size))
        extra = case.split("-", 2)[2:]  # labels, similarity, workspace, dtype
        time = _time(row["seconds"]["median"])
        if against != unit:
            time += f" ({against})"
        cells = [", ".join([f"{row['loss']}, {shape}", *extra]), mode, time]
        for side in others:
            other = _find(rows, case, mode, side)
            ratio = {against: {"median": 1.0}, **other["ratio_to"]} if other else None
            cells.append(_short(ratio[against]["median"]) if ratio else "–")
        for side in (FASTLOSS, memory_of or against):
            other = _find(rows, case, mode, side)
            cells.append((other and _bytes(other.get("peak_bytes"))) or "–")
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


# The bars ---------------------------------------------------------------------------------------


def _measured(rows: list[Row], case: str, bar: Bar) -> tuple[float, str] | None:
    """fastloss's time or memory by that of the other side, and its text."""
    row = _find(rows, case, bar.mode, FASTLOSS)
    if row is None:
        return None
    if bar.of == MEMORY:
        other = _find(rows, case, bar.mode, bar.against)
        if not other or row.get("peak_bytes") is None or not other.get("peak_bytes"):
            return None
        ratio = row["peak_bytes"] / other["peak_bytes"]
        return ratio, f"{ratio:.3f}"
    spread = row["ratio_to"].get(bar.against)
    digits = 4 if bar.limit < 0.1 else 3
    return spread and (spread["median"], _spread(spread, digits))


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
            if bar.needs and row and bar.needs not in row["environment"]["instruction_sets"]:
                continue  # of machines that have it
            either = [bar] if bar.instead is None else [bar, bar.instead]
            found = [(b, _measured(rows, case.name, b)) for b in either]
            known = [(b, measured) for b, measured in found if measured is not None]
            if known:
                add(
                    case.name,
                    " or ".join(
                        f"{b.mode}{'' if b.of == TIME else ', ' + b.of} ÷ {b.against}"
                        for b, _ in known
                    ),
                    " or ".join(text for _, (_, text) in known),
                    " or ".join(f"{b.limit:.3g}" for b, _ in known),
                    any(ratio <= b.limit for b, (ratio, _) in known),
                )
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
