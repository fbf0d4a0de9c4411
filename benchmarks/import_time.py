"""What `import fastloss` adds to `import torch`: fresh processes, interleaved, median.

    python -m fastloss_benchmarks.import_time [--rounds 9]

The figure is the time of the statement `import fastloss` in a process that has imported torch.
The total of both imports and that of torch alone, in processes of their own, stand beside it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

_ADDED = "import torch; s = time.perf_counter(); import fastloss; print(time.perf_counter() - s)"
_BOTH = "s = time.perf_counter(); import torch, fastloss; print(time.perf_counter() - s)"
_TORCH = "s = time.perf_counter(); import torch; print(time.perf_counter() - s)"
_SIDES = {"added": _ADDED, "torch": _TORCH, "torch and fastloss": _BOTH}


def measure(rounds: int = 9) -> dict[str, list[float]]:
    """Seconds, one entry a round, after one round that warms the page cache."""
    samples: dict[str, list[float]] = {name: [] for name in _SIDES}
    for position in range(rounds + 1):
        for name, program in _SIDES.items():
            command = [sys.executable, "-c", "import time; " + program]
            output = subprocess.check_output(command, text=True)
            if position > 0:
                samples[name].append(float(output))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    for name, values in measure(parser.parse_args().rounds).items():
        spread = f"{min(values) * 1e3:.1f} to {max(values) * 1e3:.1f}"
        print(f"{name:20} {statistics.median(values) * 1e3:8.1f} ms  ({spread})")


if __name__ == "__main__":
    main()
