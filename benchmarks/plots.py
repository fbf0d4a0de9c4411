"""Pictures of a result file: a file a loss and measure, a line a side, a panel a d and dtype."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cases import COMPILE, EAGER, FASTLOSS, FORWARD, LIMIT, LOOP, TRAIN
from .report import machine

Row = dict[str, Any]

MEASURES: dict[str, tuple[str, str, Callable[[Row], float | None]]] = {
    "time": (TRAIN, "seconds", lambda row: row["seconds"]["median"]),
    "memory": (TRAIN, "peak extra bytes", lambda row: row.get("peak_bytes")),
    "fraction-of-limit": (
        FORWARD,
        "bare product ÷ time",
        lambda row: 1 / row["ratio_to"][LIMIT]["median"] if LIMIT in row["ratio_to"] else None,
    ),
}
SHOWN = (FASTLOSS, LIMIT, LOOP, COMPILE, EAGER)


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


def _draw(rows: list[Row], label: str, value: Callable[[Row], Any], title: str, path: Path) -> None:
    import matplotlib.pyplot as plt

    panels = sorted({(row["d"], row["dtype"]) for row in rows})
    size = (4 * min(len(panels), 4) + 1, 4)
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
    sides = [side for side in SHOWN if any(row["side"] == side for row in rows)]
    sides += sorted({row["side"] for row in rows} - set(sides))
    for axis, (d, dtype) in zip(axes[0], panels, strict=True):
        for color, side in enumerate(sides):
            points = sorted(
                (row["n"] * row["m"], value(row))
                for row in rows
                if (row["d"], row["dtype"], row["side"]) == (d, dtype, side)
            )
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=f"C{color}", label=side)
        axis.set(title=f"d = {d}, {dtype}", xlabel="n · m", ylabel=label, xscale="log")
        axis.set_yscale("linear" if "÷" in label else "log")
        axis.legend(fontsize=6)
    figure.suptitle(f"{title}\n{machine(rows)}", fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)
