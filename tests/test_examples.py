"""The example programs run, and a seed fixes what they find."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(
        any(
            importlib.util.find_spec(name) is None
            for name in ("matplotlib", "mlxtend", "recbole", "sklearn", "torchmetrics", "tqdm")
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


def test_metrics_of_negative_scores(monkeypatch):
    """A held-out item counts whatever the sign of its score."""
    monkeypatch.syspath_prepend(EXAMPLES)
    from torchmetrics.retrieval import RetrievalMAP, RetrievalRecall

    from _movielens import Interactions, retrieval_metrics

    user, item = torch.tensor([1, 1, 2]), torch.tensor([2, 4, 1])
    held_out = Interactions(user, item, torch.zeros(3, 10))
    seen = Interactions(torch.tensor([2]), torch.tensor([3]), torch.zeros(1, 10))
    scores = torch.tensor([[9.0, -0.1, -0.2, -0.3, -0.4], [9.0, -0.2, -0.1, 0.5, -0.3]])
    metrics = {"map": RetrievalMAP(), "recall": RetrievalRecall(top_k=2)}
    # User 1: items 2 and 4 are second and fourth. User 2: item 3 is seen, so item 1 is second.
    expected = {"map": ((1 / 2 + 2 / 4) / 2 + 1 / 2) / 2, "recall": (1 / 2 + 1) / 2}
    for shift in (0.0, 1.0):
        found = retrieval_metrics(scores + shift, held_out, [seen], metrics)
        assert found == pytest.approx(expected)


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


@pytest.mark.parametrize("loss", ["nt_xent", "sup_con", "siglip"])
def test_simclr(tmp_path, loss):
    """Eight steps a side: the curves agree, which the example itself checks."""
    summary = run("simclr_mnist", tmp_path, "--loss", loss, "--batch", "500")
    eager, fused = summary["sides"]["eager"], summary["sides"]["fastloss"]
    assert len(eager["curve"]) == len(fused["curve"]) == 8
    assert eager["accuracy"][0] == fused["accuracy"][0]  # one seed
    assert (tmp_path / "simclr.png").stat().st_size > 0


def test_metric_learning(tmp_path):
    """Eight steps a loss, twice: the same numbers, and those of a loss do not depend on others."""
    steps = ("--batch", "500")
    first = run("metric_learning_mnist", tmp_path, *steps)["losses"]
    assert len(first) == 4
    assert (tmp_path / "metric.png").stat().st_size > 0
    again = run("metric_learning_mnist", tmp_path, *steps, "--losses", *reversed(first))["losses"]
    for name, result in first.items():
        assert len(result["curve"]) == 8
        for part in ("curve", "recall", "active"):
            assert result[part] == again[name][part], name
    assert len({result["recall"][0][1] for result in first.values()}) == 1  # one seed
    assert len({result["curve"][-1] for result in first.values()}) == 4


def test_views_differ(monkeypatch):
    """Each view is another one, of the same form, and a seed fixes it."""
    monkeypatch.syspath_prepend(EXAMPLES)
    from simclr_mnist import augment

    image = torch.rand(3, 1, 28, 28)
    torch.manual_seed(1)
    first, second = augment(image), augment(image)
    torch.manual_seed(1)
    assert torch.equal(augment(image), first)
    assert first.shape == image.shape
    assert not torch.isclose(first, second).all(dim=(1, 2, 3)).any()
    assert first.min() >= 0
    assert first.max() <= 1


def test_simclr_check(monkeypatch):
    """The example finds curves that part, and features that are no better than pixels."""
    monkeypatch.syspath_prepend(EXAMPLES)
    from simclr_mnist import DEFAULT_EPOCHS, check

    def failures(first=0.0, apart=0.0, accuracy=0.97):
        epochs = DEFAULT_EPOCHS["nt_xent"]
        side = {"accuracy": [(0, 0.9), (epochs, 0.97)]}
        other = {"accuracy": [(0, 0.9), (epochs, accuracy)]}
        return check(
            {
                "loss": "nt_xent",
                "epochs": epochs,
                "raw_pixels": 0.95,
                "sides": {"eager": side, "fastloss": other},
                "curve_deviation": {"first step": first, "all steps": apart},
            }
        )

    assert failures() == []
    for wrong in ({"first": 1e-4}, {"apart": 0.1}, {"apart": math.nan}, {"accuracy": 0.955}):
        assert len(failures(**wrong)) == 1, wrong
