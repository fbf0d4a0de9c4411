"""The benchmark program, end to end on problems that take milliseconds."""

import itertools
import json
import os
import subprocess
import sys

import pytest
import torch

import fastloss

pytest.importorskip("rich")
pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")
cases = pytest.importorskip("fastloss_benchmarks.cases")

from fastloss_benchmarks import compare, report, run, sides, timing  # noqa: E402


def bench(*arguments, check=True, **options):
    command = [sys.executable, "-m", "fastloss_benchmarks", *map(str, arguments)]
    options |= {"env": os.environ | {"COLUMNS": "200"}}
    return subprocess.run(command, capture_output=True, text=True, check=check, **options)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    file = tmp_path_factory.mktemp("bench") / "result.jsonl"
    shape = ("--loss", "clip_loss", "--n", 48, "--d", 8, "--budget", 0.05, "--threads", 1)
    return file, bench(*shape, "--out", file, "--check", "--plot", file.parent / "plots")


def test_end_to_end(result):
    file, done = result
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    measured = {(row["mode"], row["side"]) for row in rows if "skipped" not in row}
    for mode in cases.MODES:
        for side in (cases.FASTLOSS, cases.LIMIT, cases.EAGER, cases.LOOP, cases.CLOSED_FORM):
            assert (mode, side) in measured
    for row in rows:
        if "skipped" not in row:
            assert row["seconds"]["q20"] <= row["seconds"]["median"] <= row["seconds"]["q80"]
            assert row["environment"]["torch"] == torch.__version__
    assert str(file.parent) not in file.read_text(), "a folder of this machine"
    ours = next(r for r in rows if (r["mode"], r["side"]) == (cases.TRAIN, cases.FASTLOSS))
    assert 0 <= ours["peak_bytes"] <= ours["bound_bytes"]
    assert "clip_loss-48x48x8" in done.stdout
    assert len(list((file.parent / "plots").glob("clip_loss-*.png"))) == 3


@pytest.fixture(scope="module")
def ranking_result(tmp_path_factory):
    file = tmp_path_factory.mktemp("bench") / "result.jsonl"
    shape = ("--loss", "ranknet_loss", "--n", 1, "--m", 30, 60, "--labels", "graded")
    timed = ("--budget", 0.05, "--threads", 1, "--without", "rax", "--without", "allRank")
    bench(*shape, *timed, "--no-memory", "--out", file, "--plot", file.parent / "plots")
    return file, [json.loads(line) for line in file.read_text().splitlines()]


def test_end_to_end_of_lists(ranking_result):
    file, rows = ranking_result
    measured = {(row["mode"], row["side"]) for row in rows if "skipped" not in row}
    for mode in cases.MODES:
        for side in (cases.FASTLOSS, cases.PAIRS, cases.EAGER, cases.CHUNKED):
            assert (mode, side) in measured
    assert {row["case"] for row in rows} == {f"ranknet_loss-1x{m}-graded" for m in (30, 60)}
    for row in rows:
        assert "d" not in row
        assert row["side"] in (cases.EAGER, cases.COMPILE) or cases.EAGER in row["ratio_to"]
        kept = {name: row[name] for name in ("loss", "n", "m", "dtype", "labels", "power")}
        assert cases.Case(**kept).shape.items() <= row.items()
    assert (file.parent / "plots" / "ranknet_loss-growth.png").exists()
    table = bench("--from", file, "--table-markdown").stdout
    assert "| loss, n × m |" in table
    assert table.count("| ranknet_loss, 1 × 30, graded | forward") == 2
    assert "multiples of eager" in table


def test_peak_memory_of_a_side_of_lists():
    case = cases.Case("ranknet_loss", 3, 40, labels="binary")
    request = {"case": case.shape, "mode": cases.TRAIN, "side": cases.FASTLOSS}
    request |= {"setting": None, "threads": 1}
    wrong = request | {"side": "nonesuch"}
    lines = [json.dumps(one) + "\n" for one in (request, wrong, request)]
    peak, failed, again = bench("--weigh", input="".join(lines)).stdout.splitlines()
    assert failed == "failed"
    for answer in (peak, again):
        assert answer == "null" or 0 <= int(answer) <= case.bound_bytes


def test_table_and_comparison_of_a_file(result):
    file, _ = result
    table = bench("--from", file, "--table-markdown").stdout
    assert "clip_loss, 48 × 48 × 8" in table
    same = bench("--compare", file, file).stdout
    assert "same" in same
    assert "faster" not in same
    assert "slower" not in same


def test_table_of_a_list_whose_unit_is_a_side_that_is_shown(result):
    """Where there is no eager, our own loop over the pairs stands for it, in its own column too."""
    template = json.loads(result[0].read_text().splitlines()[0])
    about = {"loss": "ranknet_loss", "n": 1, "m": 65536, "d": 0, "labels": "binary"}
    about |= {"case": "ranknet_loss-1x65536-graded", "mode": cases.TRAIN, "peak_bytes": 1000}
    seconds = {"q20": 1.0, "median": 1.0, "q80": 1.0}
    rows = [
        template | about | {"side": side, "seconds": seconds, "ratio_to": {other: seconds}}
        for side, other in ((cases.FASTLOSS, cases.PAIRS), (cases.PAIRS, cases.FASTLOSS))
    ]
    assert "| 1 s (fastloss, pairs) | 1.00 | 1.00 |" in report.markdown(rows)


def test_comparison_sees_a_difference():
    row = {"samples": [1.0, 1.1, 0.9, 1.05, 0.95]}
    slower = {"samples": [2 * value for value in row["samples"]]}
    middle, low, high = compare.ratio(row, slower)
    assert low <= middle <= high
    assert middle == pytest.approx(2)
    assert compare.verdict(low, high) == "slower"
    assert compare.verdict(1 / high, 1 / low) == "faster"


def test_comparison_claims_nothing_from_one_or_two_calls():
    once, often = {"samples": [5.0]}, {"samples": [1.0, 1.1, 0.9]}
    middle, *ends = compare.ratio(once, often)
    assert middle == pytest.approx(0.2)
    assert compare.verdict(*ends) == "too few calls"


def test_a_device_is_timed_by_its_events(monkeypatch):
    """From the first event to the last, in the order of the stream; events count milliseconds."""
    stream = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            stream.append(self)

        def synchronize(self):
            assert stream[-1] is self

        def elapsed_time(self, end):
            assert (stream[0], stream[-1]) == (self, end)
            return 6.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    timing.use("cuda")
    try:
        assert timing.seconds_of(lambda: stream.append("call"), calls=3) == pytest.approx(2e-3)
    finally:
        timing.use("cpu")
    assert stream[1:-1] == ["call"] * 3
    assert timing.seconds_of(lambda: None) < 1


def test_cases_of_a_device():
    """Losses without CUDA kernels are left out, and alone they are an error."""
    chosen = run.selected(run.parse_arguments(["--device", "cuda"]))
    assert chosen
    assert {case.loss for case in chosen} <= fastloss._cuda.LOSSES
    assert {case.device for case in chosen} == {"cuda"}
    with pytest.raises(SystemExit, match="none of these losses has CUDA kernels"):
        run.selected(run.parse_arguments(["--device", "cuda", "--loss", "ranknet_loss"]))


def test_long_calls_are_timed_sparingly(monkeypatch):
    calls = dict.fromkeys(("quick", "long", "very long"), 0)

    def side(name):
        def run():
            calls[name] += 1

        return run

    first = {"quick": 1e-3, "long": timing.LONG * 1.01, "very long": timing.VERY_LONG * 1.01}
    samples, _ = timing.interleave(
        {name: side(name) for name in calls},
        budget=0.01,
        rounds=(4, 4),
        first_calls=first,
        sparing=("quick", "long", "very long"),
    )
    assert {name: len(values) for name, values in samples.items()} == {
        "quick": 4, "long": 2, "very long": 1,
    }  # fmt: skip
    assert calls["very long"] == 0
    assert samples["long"][0] == first["long"]
    ratio = timing.ratios([2.0, 4.0, 6.0], [1.0, 3.0])
    assert ratio["median"] == pytest.approx(4 / 2)


def test_a_bar_that_falls_short_is_said(capsys):
    case = next(case for case in cases.CASES if case.bars)
    bar = case.bars[0]
    spread = {"q20": 9.0, "median": 9.0, "q80": 9.0}
    row = {
        "case": case.name, "mode": bar.mode, "side": cases.FASTLOSS,
        "ratio_to": {bar.against: spread}, "environment": {"instruction_sets": []},
    }  # fmt: skip
    assert not report.check([row], report.Console(width=200))
    assert "falls short" in capsys.readouterr().out
    row["ratio_to"] = {bar.against: dict.fromkeys(spread, bar.limit)}
    assert report.check([row], report.Console(width=200))


def test_a_bar_on_memory_and_one_with_an_alternative(capsys):
    case = next(case for case in cases.CASES if case.bars and case.bars[0].instead)
    (bar,) = case.bars
    assert (bar.of, bar.instead.of) == (cases.TIME, cases.MEMORY)
    common = {"case": case.name, "mode": bar.mode, "environment": {"instruction_sets": []}}
    slow = {"q20": 9.0, "median": 9.0, "q80": 9.0}
    peak = case.bound_bytes
    for fraction, holds in ((bar.instead.limit * 1.01, False), (bar.instead.limit * 0.99, True)):
        rows = [
            {**common, "side": cases.FASTLOSS, "ratio_to": {bar.against: slow}, "peak_bytes": peak},
            {**common, "side": bar.against, "ratio_to": {}, "peak_bytes": peak / fraction},
        ]
        assert report.check(rows, report.Console(width=300)) == holds
        assert f"9.000 [9.000, 9.000] or {fraction:.3f}" in capsys.readouterr().out
    rows[0]["ratio_to"] = {bar.against: dict.fromkeys(slow, bar.limit)}
    rows[1]["peak_bytes"] = peak
    assert report.check(rows, report.Console(width=300)), "its time is enough"


def test_bars_speak_of_sides_that_there_are():
    for case in cases.CASES:
        table = sides.of(case)
        assert len({*table}) == len(table)
        for bar in case.bars:
            for one in (bar, bar.instead or bar):
                assert one.against in table, case.name
                assert one.mode in case.modes


def test_names():
    names = bench("--list").stdout.split()
    assert len(names) == len(set(names)) > 10
    assert set(bench("--list", "--quick").stdout.split()) - set(names) <= {
        case.name for case in cases.CASES if case.quick_only
    }
    assert bench("--list", "--only", "clip_loss-*").stdout.split() == [
        case.name for case in cases.CASES if case.loss == "clip_loss"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "nonesuch"), "no case matches 'nonesuch'"),
        (("--n", "0"), "must be positive"),
        (("--loss", "clip_loss", "--n", "8", "--m", "16"), "clip_loss has m = n"),
        (("--device", "cuda", "--n", "8"), "no CUDA device"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_errors(arguments, message):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    done = bench(*arguments, check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def small_cases(loss, dtype):
    if loss in cases.LISTS:
        powers = (1, 2) if loss == "pairwise_hinge_loss" else (1,)
        for n, labels, power in itertools.product((1, 6), cases.LABELS, powers):
            yield cases.Case(loss, n, 30, dtype=dtype, labels=labels, power=power)
    elif loss in cases.TRIPLETS:
        yield cases.Case(loss, 40, 5, 8, dtype=dtype)
    elif loss not in cases.FEATURES:
        yield cases.Case(loss, 40, 70, dtype=dtype)
    else:
        m = 40 if loss == "clip_loss" or loss in cases.ONE_SET else 70
        for similarity in ("dot",) if loss == "linear_cross_entropy" else ("dot", "cosine"):
            yield cases.Case(loss, 40, m, 8, dtype=dtype, similarity=similarity)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_all_sides_compute_the_same(loss, dtype):
    for case in small_cases(loss, dtype):
        inputs, table = sides.inputs_of(case), sides.of(case)
        for mode in cases.MODES:
            expected = table[cases.FASTLOSS].build(case, inputs, mode, None)()
            for name, side in table.items():
                if name == cases.COMPILE:
                    continue
                try:
                    settings = side.settings(case)
                    results = [side.build(case, inputs, mode, setting)() for setting in settings]
                except sides.Unavailable:
                    continue  # a package that is not installed
                for got in results:
                    error = sides.error_of(got, expected)
                    assert error is None or error <= sides.tolerance(case), f"{name}, {mode}"


@pytest.mark.parametrize("loss", cases.ALL_PAIRS)
def test_chunks_of_any_size_see_every_pair_once(loss):
    for n, m in ((1, 50), (7, 5)):
        case = cases.Case(loss, n, m, labels="graded")
        inputs, table = sides.inputs_of(case), sides.of(case)
        expected = table[cases.EAGER].build(case, inputs, cases.TRAIN, None)()
        for pairs in (1, m, 3 * m, 2 * m * m, 100 * m * m):
            got = table[cases.CHUNKED].build(case, inputs, cases.TRAIN, ("pairs", pairs))()
            assert sides.error_of(got, expected) < 1e-5, (n, m, pairs)
