"""The benchmark program, end to end on problems that take milliseconds."""

import json
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("rich")
pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")
cases = pytest.importorskip("fastloss_benchmarks.cases")

from fastloss_benchmarks import compare, report, sides  # noqa: E402


def bench(*arguments, check=True):
    command = [sys.executable, "-m", "fastloss_benchmarks", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=check, env=environment)


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


def test_table_and_comparison_of_a_file(result):
    file, _ = result
    table = bench("--from", file, "--table-markdown").stdout
    assert "clip_loss, 48 × 48 × 8" in table
    same = bench("--compare", file, file).stdout
    assert "same" in same
    assert "faster" not in same
    assert "slower" not in same


def test_comparison_sees_a_difference():
    row = {"samples": [1.0, 1.1, 0.9, 1.05, 0.95]}
    slower = {"samples": [2 * value for value in row["samples"]]}
    middle, low, high = compare.ratio(row, slower)
    assert low <= middle <= high
    assert middle == pytest.approx(2)
    assert compare.verdict(low, high) == "slower"
    assert compare.verdict(1 / high, 1 / low) == "faster"


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


def test_names():
    names = bench("--list").stdout.split()
    assert len(names) == len(set(names)) > 10
    assert set(bench("--list", "--quick").stdout.split()) - set(names) <= {
        case.name for case in cases.CASES if case.quick_only
    }
    assert bench("--list", "--only", "clip_loss-*").stdout.split() == [
        name for name in names if name.startswith("clip_loss-")
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_all_sides_compute_the_same(loss, dtype):
    m = 40 if loss == "clip_loss" else 70
    for similarity in ("dot",) if loss == "linear_cross_entropy" else ("dot", "cosine"):
        case = cases.Case(loss, 40, m, 8, dtype=dtype, similarity=similarity)
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
