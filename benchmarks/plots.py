"""Pictures of a result file: a file a loss and measure, a line a side.

Losses of features have a panel a d and dtype, over n · m; losses of scores a panel a kind of labels
and dtype, over the number of scores. `growth` shows single lists alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cases import (
    CHUNKED,
    COMPILE,
    EAGER,
    FASTLOSS,
    FORWARD,
    LIMIT,
    LISTS,
    LOOP,
    PAIRS,
    TORCH_OWN,
    TRAIN,
)
from .report import machine

Row = dict[str, Any]


def _single_list(row: Row) -> bool:
    return row["loss"] in LISTS and row["n"] == 1


def _seconds(row: Row) -> float:
    return row["seconds"]["median"]


MEASURES: dict[str, tuple[str, str, Callable[[Row], float | None]]] = {
    "time": (TRAIN, "seconds", lambda row: None if _single_list(row) else _seconds(row)),
    "growth": (TRAIN, "seconds", lambda row: _seconds(row) if _single_list(row) else None),
    "memory": (TRAIN, "peak extra bytes", lambda row: row.get("peak_bytes")),
    "fraction-of-limit": (
        FORWARD,
        "bare product ÷ time",
        lambda row: 1 / row["ratio_to"][LIMIT]["median"] if LIMIT in row["ratio_to"] else None,
    ),
}
SHOWN = (FASTLOSS, LIMIT, LOOP, PAIRS, COMPILE, EAGER, CHUNKED, TORCH_OWN)


def write(rows: list[Row], folder: Path) -> list[Path]:
    """Write <loss>-<measure>.png for what the rows have; return the paths."""
    import matplotlib

    matplotlib.use("Agg")

    folder.mkdir(parents=True, exist_ok=True)
    measured = [row for row in rows if "loss" in row and "skipped" not in row]
    paths = []
    for loss in dict.fromkeys(row["loss"] for row in measured):
        for name, (mode, label, value) in MEASURES.items():
            chosen = [r for r in measured if r["loss"] == loss and r["mode"] == mode]
            chosen = [r for r in chosen if value(r) is not None]
            if chosen:
                path = folder / f"{loss}-{name}.png"
                _draw(chosen, label, value, f"{loss}, {mode}", path)
                paths.append(path)
    return paths


def _panel(row: Row) -> tuple[int, str]:
    """Sorts by d; the text is the panel's title."""
    kind = f"d = {row['d']}" if row.get("d") else row.get("labels", "")
    squared = "squared" if row.get("power", 1) == 2 else ""
    dtype = row.get("dtype", "float32")
    return row.get("d", 0), ", ".join(part for part in (kind, squared, dtype) if part)


def _draw(rows: list[Row], label: str, value: Callable[[Row], Any], title: str, path: Path) -> None:
    import matplotlib.pyplot as plt

    panels = sorted({_panel(row) for row in rows})
    size = (4 * min(len(panels), 4) + 1, 4)
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
    sides = [side for side in SHOWN if any(row["side"] == side for row in rows)]
    sides += sorted({row["side"] for row in rows} - set(sides))
    for axis, panel in zip(axes[0], panels, strict=True):
        of_panel = [row for row in rows if _panel(row) == panel]
        for color, side in enumerate(sides):
            points = sorted(
                (row["n"] * row["m"], value(row)) for row in of_panel if row["side"] == side
            )
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=f"C{color}", label=side)
        axis.set(title=panel[1], xlabel="n · m", ylabel=label, xscale="log")
        if all(_single_list(row) for row in of_panel):
            axis.set_xlabel("items of the list")
        axis.set_yscale("linear" if "÷" in label else "log")
        axis.legend(fontsize=6)
    figure.suptitle(f"{title}\n{machine(rows)}", fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)
