"""Interleaved timing: every round runs each side once, so that a slow moment hits all of them."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

MIN_SAMPLE = 5e-3  # seconds; quicker calls are repeated within one sample
SLOW = 1.0  # seconds; in such a call a cold start is not seen
LONG_ROUND = 15.0  # seconds; two such rounds must do
LONG = 0.5  # seconds; a side that is timed sparingly has two samples beyond this,
VERY_LONG = 5.0  # and one beyond this


_on_cuda = False


def use(device: str) -> None:
    """Time on the device's own clock from here on: by CUDA events, or by the process's."""
    global _on_cuda
    _on_cuda = device == "cuda"


def seconds_of(function: Callable[[], Any], calls: int = 1) -> float:
    """Seconds per call. On a GPU from one event of its stream to another: calls follow each other
    without a stop, and what the device waits for its host is counted."""
    if _on_cuda:
        import torch

        start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start_event.record()
        for _ in range(calls):
            function()
        end_event.record()
        end_event.synchronize()
        return start_event.elapsed_time(end_event) * 1e-3 / calls
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def synchronised(function: Callable[[], Any], device: str) -> Callable[[], Any]:
    """The function, done when it returns: kernels on a GPU are only started by a call."""
    if device == "cpu":
        return function
    import torch

    def run() -> Any:
        result = function()
        torch.cuda.synchronize()
        return result

    return run


def interleave(
    sides: Mapping[str, Callable[[], Any]],
    *,
    budget: float,
    rounds: tuple[int, int],
    first_calls: Mapping[str, float],
    sparing: Collection[str] = (),
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Samples of each side (seconds per call, one a round) and the calls that make a sample.

    Args:
        sides: functions without arguments, warm.
        budget: seconds that all rounds together should take.
        rounds: fewest and most rounds, whatever the budget; two if they are long.
        first_calls: seconds that each side's first, cold call took.
        sparing: sides that take no part in the rounds when a call takes long, so that the others
            have many; their samples are the first call and, unless very long, one more.
    """
    few = {name: [first_calls[name]] for name in sparing if first_calls.get(name, 0) > LONG}
    for name, samples in few.items():
        if samples[0] <= VERY_LONG:
            samples.append(seconds_of(sides[name]))
    sides = {name: function for name, function in sides.items() if name not in few}
    estimate = {
        name: first_calls[name] if first_calls[name] > SLOW else seconds_of(function)
        for name, function in sides.items()
    }
    calls = {name: max(1, round(MIN_SAMPLE / t + 0.5)) for name, t in estimate.items()}
    round_time = sum(estimate[name] * calls[name] for name in sides) or budget
    fewest = rounds[0] if round_time < LONG_ROUND else min(2, rounds[0])
    count = min(max(int(budget / round_time), fewest), rounds[1])

    samples: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    shuffle = random.Random(0).shuffle  # a fixed order would always put the same side after another
    for _ in range(count):
        shuffle(order)
        for name in order:
            samples[name].append(seconds_of(sides[name], calls[name]))
    return samples | few, calls | dict.fromkeys(few, 1)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The 20 % quantile, the median and the 80 % quantile."""
    if len(values) < 2:
        values = [*values, *values]
    fifths = statistics.quantiles(values, n=5, method="inclusive")
    return {"q20": fifths[0], "median": statistics.median(values), "q80": fifths[3]}


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """Quantiles of the ratio, formed round by round; a side timed sparingly gives its median."""
    rounds = max(len(numerator), len(denominator))
    numerator, denominator = (
        values if len(values) == rounds else [statistics.median(values)] * rounds
        for values in (numerator, denominator)
    )
    return quantiles([a / b for a, b in zip(numerator, denominator, strict=True)])


def fastest(candidates: Mapping[Any, Callable[[], Callable[[], Any]]]) -> Any:
    """The key of the quickest candidate; each value builds the function to time.

    Judged after a first, cold call by the best of three, slower than a fifth of a second by one;
    a slow one by its first call.
    """
    if len(candidates) == 1:
        return next(iter(candidates))
    best, best_time = None, float("inf")
    for key, build in candidates.items():
        function = build()
        elapsed = seconds_of(function)
        if elapsed < SLOW:
            repeats = 3 if elapsed < 0.2 else 1
            elapsed = min(seconds_of(function) for _ in range(repeats))
        if elapsed < best_time:
            best, best_time = key, elapsed
        del function  # its buffers, before the next one allocates
    return best
