"""The example programs run, and a seed fixes what they find."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(
        any(
            importlib.util.find_spec(name) is None
            for name in ("matplotlib", "recbole", "torchmetrics", "tqdm")
        ),
        reason="the packages of the examples are not installed",
    ),
]


def run(example, folder, *options):
    command = (sys.executable, EXAMPLES / f"{example}.py", "--epochs", "1", "--out", folder)
    done = subprocess.run(
        [*command, *options], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_two_tower(tmp_path):
    summary = run("movielens_two_tower", tmp_path, "--skip-large")
    assert set(summary["models"]) == {"eager", "fastloss"}
    assert (tmp_path / "loss_curves.png").stat().st_size > 0


def test_modes(tmp_path):
    """Three steps a mode, twice: the same numbers, and a mode's do not depend on the others."""
    steps = ("--batch", "30000")
    first = run("recommender_modes", tmp_path, *steps)
    again = run("recommender_modes", tmp_path, *steps, "--modes", *reversed(first["modes"]))
    assert len(first["modes"]) == 4
    assert (tmp_path / "modes.png").stat().st_size > 0
    for name, result in first["modes"].items():
        del result["seconds"], again["modes"][name]["seconds"]
        assert result == again["modes"][name], name
    assert len({result["final_loss"] for result in first["modes"].values()}) == 4
