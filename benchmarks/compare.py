"""Two result files side by side: the ratio of medians with a confidence interval.

The interval is a bootstrap over the rounds (95 %): rounds are drawn with replacement, a thousand
times, from either file. It covers the noise within the runs, not that the machine was busier in one
of them; the ratio of the bare products, which no change of fastloss moves, shows that.
"""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
DRAWS = 1000
FEWEST = 3  # samples that show a spread


def _samples(row: Row) -> list[float]:
    """The rounds; of a file without them, the quantiles stand for them."""
    return row.get("samples") or list(row["seconds"].values())


def ratio(old: Row, new: Row) -> tuple[float, float, float]:
    """(new / old, lower end, upper end); ends of NaN where one or two calls show no spread."""
    before, after = _samples(old), _samples(new)
    if min(len(before), len(after)) < FEWEST:
        middle = statistics.median(after) / statistics.median(before)
        return middle, math.nan, math.nan
    draw = random.Random(0).choices
    drawn = sorted(
        statistics.median(draw(after, k=len(after)))
        / statistics.median(draw(before, k=len(before)))
        for _ in range(DRAWS)
    )
    middle = statistics.median(after) / statistics.median(before)
    return middle, drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS) - 1]


def verdict(low: float, high: float) -> str:
    if math.isnan(low):
        return "too few calls"
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "same"


def pairs(old: list[Row], new: list[Row]) -> list[tuple[Row, Row]]:
    """Rows of the same case, pass and side in both files."""
    key = ("case", "mode", "side")
    before = {tuple(row[k] for k in key): row for row in old if "skipped" not in row}
    found = [(before.get(tuple(row[k] for k in key)), row) for row in new if "skipped" not in row]
    return [(a, b) for a, b in found if a is not None]


def print_table(old: list[Row], new: list[Row], console: Console) -> None:
    table = Table(title="new ÷ old")
    for column in ("case", "pass", "side"):
        table.add_column(column, no_wrap=True)
    for column in ("time [95 %]", "memory", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for a, b in pairs(old, new):
        middle, low, high = ratio(a, b)
        memory = ""
        if a.get("peak_bytes") and b.get("peak_bytes"):
            memory = f"{b['peak_bytes'] / a['peak_bytes']:.2f}"
        table.add_row(
            b["case"], b["mode"], b["side"],
            f"{middle:.3f} [{low:.3f}, {high:.3f}]", memory, verdict(low, high),
        )  # fmt: skip
    console.print(table)
