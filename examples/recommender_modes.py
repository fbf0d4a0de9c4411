"""Four ways to train one recommender: point-wise, pair-wise, list-wise, over the whole catalogue.

The model is the two-tower one of movielens_two_tower.py, the score of a user and an item the cosine
of their vectors over a temperature. What differs is what a positive is compared with:

    point-wise   nothing: is this item relevant?   fastloss.binary_cross_entropy_with_logits
    pair-wise    one negative at a time            fastloss.bpr_loss
    list-wise    all its sampled negatives         fastloss.sampled_softmax_loss, logQ correction
    catalogue    every item there is               fastloss.linear_cross_entropy

Each mode starts from the same parameters and sees the same positives in the same order, as often as
the others; MODES says what else is chosen and why. Of each user's interactions in the order of time
the last ones are the test and those before them the validation. The curves are of the validation,
and so was the choice of temperatures; the test is looked at once, after the last epoch.

    python examples/recommender_modes.py [--modes M ...] [--epochs N] [--batch N]
                                         [--temperature T] [--seed N] [--out DIR]

The same seed gives the same numbers, at the same number of threads.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.retrieval import RetrievalMAP, RetrievalNormalizedDCG, RetrievalRecall
from tqdm import tqdm

import fastloss
from _movielens import (
    Dataset,
    TwoTower,
    data_file,
    load,
    model_scores,
    retrieval_metrics,
)
from _report import print_table, processor

matplotlib.use("Agg")  # no display needed
import matplotlib.pyplot as plt

TOP_K = 20
HELD_OUT = 5  # a user's interactions in test, as many in validation: with one, MAP were 1 / rank
RECALL, NDCG, MAP = f"recall@{TOP_K}", f"ndcg@{TOP_K}", "map"
METRICS = {
    RECALL: RetrievalRecall(top_k=TOP_K),
    NDCG: RetrievalNormalizedDCG(top_k=TOP_K),
    MAP: RetrievalMAP(),
}

LEARNING_RATE = 3e-3  # of Adam, as in movielens_two_tower.py
DEFAULT_EPOCHS = 12
DEFAULT_BATCH = 1024  # 88 steps an epoch
BASELINE_FACTOR = 1.5  # after DEFAULT_EPOCHS, NDCG must be at least this many times popularity's


# The four losses --------------------------------------------------------------------------------


class Sampler:
    """Draws negatives, from a random stream of its own: the order of the batches stays the same."""

    def __init__(self, data: Dataset, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.items = data.items
        self.frequency = data.item_frequency
        self.log_q = data.item_frequency.log()  # −inf for an item that is never drawn
        self.seen = torch.zeros(data.users + 1, data.items + 1, dtype=torch.bool)
        self.seen[data.train.user, data.train.item] = True

    def _uniform(self, *shape: int) -> Tensor:
        return torch.randint(1, self.items + 1, shape, generator=self.generator)

    def unseen(self, user: Tensor, count: int) -> Tensor:
        """Uniform over the items that the user has not rated in training, (users, count)."""
        item = self._uniform(len(user), count)
        while True:
            again = self.seen[user[:, None], item]
            repeats = int(again.sum())
            if repeats == 0:
                return item
            item[again] = self._uniform(repeats)

    def popular(self, user: Tensor, count: int) -> Tensor:
        """By frequency in training, as the items of a batch are distributed, (users, count)."""
        draws = len(user) * count
        item = torch.multinomial(self.frequency, draws, True, generator=self.generator)
        return item.view(-1, count)


@dataclass
class Step:
    """A batch of positives, and what a loss needs to compare them."""

    user: Tensor  # (b,) ids
    item: Tensor  # (b,) ids
    query: Tensor  # (b, d) unit vectors
    table: Tensor  # (items, d) unit vectors; item i is row i - 1
    temperature: float
    negatives: int
    sampler: Sampler

    def cosine(self, item: Tensor) -> Tensor:
        """Of each user with its row of item (b, n)."""
        return torch.einsum("bd,bnd->bn", self.query, F.embedding(item - 1, self.table))


def point_wise(step: Step) -> Tensor:
    """Label 1 for the positive, 0 for items that the user has not rated.

    A draw has one positive to n negatives, whoever the user is. The logit begins with these odds,
    -log(n): the cosines of random vectors lie around 0, and to say "one in n" by them alone the
    towers would have to turn all users away from all items.
    """
    negative = step.sampler.unseen(step.user, step.negatives)
    logit = step.cosine(torch.cat([step.item[:, None], negative], 1)) / step.temperature
    logit = logit - math.log(step.negatives)
    label = torch.zeros_like(logit)
    label[:, 0] = 1
    return fastloss.binary_cross_entropy_with_logits(logit, label)


def pair_wise(step: Step) -> Tensor:
    """The positive above items that the user has not rated; odds cancel in the differences."""
    negative = step.sampler.unseen(step.user, step.negatives)
    score = step.cosine(torch.cat([step.item[:, None], negative], 1)) / step.temperature
    return fastloss.bpr_loss(score[:, 0], score[:, 1:])


def list_wise(step: Step) -> Tensor:
    """The positive among items drawn by popularity, which resemble it more than uniform ones do.

    Both sides are corrected by log q: then the scores that minimise the loss are those of the full
    softmax, however few negatives are drawn (Ma & Collins 2018). Drawn negatives may be items that
    the user has rated, as in the full softmax, but a draw of the positive itself is left out.
    """
    negative = step.sampler.popular(step.user, step.negatives)
    cosine = step.cosine(torch.cat([step.item[:, None], negative], 1))
    return fastloss.sampled_softmax_loss(
        cosine[:, 0],
        cosine[:, 1:],
        temperature=step.temperature,
        positive_log_q=step.sampler.log_q[step.item],
        negative_log_q=step.sampler.log_q[negative],
        negative_where=negative != step.item[:, None],
    )


def catalogue(step: Step) -> Tensor:
    """The positive among all items: nothing is drawn, and nothing to be corrected."""
    return fastloss.linear_cross_entropy(step.query / step.temperature, step.table, step.item - 1)


@dataclass(frozen=True)
class Mode:
    loss: Callable[[Step], Tensor]
    function: str  # of fastloss
    temperature: float
    negatives: int  # drawn for each positive


# Temperatures: of 0.05, 0.1, 0.2 and 0.4 the one of the best NDCG in validation, after the default
# epochs from seed 0 (--temperature repeats that). Negatives: the same number for each mode that
# draws some, so that these see equally many scores.
MODES = {
    "point-wise": Mode(point_wise, "binary_cross_entropy_with_logits", 0.2, 32),
    "pair-wise": Mode(pair_wise, "bpr_loss", 0.1, 32),
    "list-wise": Mode(list_wise, "sampled_softmax_loss", 0.2, 32),
    "catalogue": Mode(catalogue, "linear_cross_entropy", 0.2, 0),  # all others are negatives
}


# Training ---------------------------------------------------------------------------------------


@dataclass
class Run:
    """What one training leaves behind."""

    model: TwoTower
    curve: list[float] = field(default_factory=list)  # NDCG in validation, one entry an epoch
    seconds: list[float] = field(default_factory=list)  # of training until then, without metrics
    final_loss: float = float("nan")


def train(name: str, mode: Mode, data: Dataset, epochs: int, batch: int, seed: int) -> Run:
    """Train one model; the seed fixes its parameters, the order of the batches and the draws."""
    torch.manual_seed(seed)
    run = Run(TwoTower(data.users, data.items))
    optimiser = torch.optim.Adam(run.model.parameters(), lr=LEARNING_RATE)
    sampler = Sampler(data, seed + 1)
    shuffle = torch.Generator().manual_seed(seed)
    every_item = torch.arange(1, data.items + 1)
    steps = len(data.train) // batch  # the incomplete last batch is dropped
    elapsed = 0.0
    bar = tqdm(total=epochs * steps, desc=f"{name:10}", unit="step", dynamic_ncols=True)
    for _ in range(epochs):
        start = time.perf_counter()
        order = torch.randperm(len(data.train), generator=shuffle)
        for rows in order[: steps * batch].split(batch):
            positives = data.train[rows]
            # A step's draws cover most of this catalogue, so each item passes its tower once.
            step = Step(
                positives.user,
                positives.item,
                F.normalize(run.model.users(positives)),
                F.normalize(run.model.items(every_item)),
                mode.temperature,
                mode.negatives,
                sampler,
            )
            optimiser.zero_grad()
            loss = mode.loss(step)
            loss.backward()
            optimiser.step()
            bar.update()
        elapsed += time.perf_counter() - start
        run.final_loss = loss.item()
        run.seconds.append(elapsed)
        scores = model_scores(run.model, data.validation, data)
        run.curve.append(evaluate(scores, data, "validation", NDCG)[NDCG])
        bar.set_postfix(loss=f"{run.final_loss:.4f}", ndcg=f"{run.curve[-1]:.4f}")
    bar.close()
    return run


def evaluate(scores: Tensor, data: Dataset, part: str, *names: str) -> dict[str, float]:
    """The named metrics of one part; what a user rated before it is no candidate."""
    seen = [data.train] if part == "validation" else [data.train, data.validation]
    metrics = {name: METRICS[name] for name in names}
    return retrieval_metrics(scores, getattr(data, part), seen, metrics)


# Report -----------------------------------------------------------------------------------------


def plot(runs: dict[str, Run], popularity: float, path: Path) -> None:
    """Validation NDCG of each mode, over epochs and over seconds of training."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for name, run in runs.items():
        left.plot(range(1, len(run.curve) + 1), run.curve, marker="o", markersize=3, label=name)
        right.plot(run.seconds, run.curve, marker="o", markersize=3)
    for axes in (left, right):
        axes.axhline(popularity, color="tab:gray", linestyle="--", label="popularity")
    left.set(xlabel="epoch", ylabel=f"{NDCG}, validation", title="MovieLens-100k: by epoch")
    right.set(xlabel="seconds of training", title="by time")
    left.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def print_summary(summary: dict) -> None:
    popularity = summary["popularity"]
    rows = [("", *METRICS, "ndcg ratio", "training", "loss")]
    rows.append(("popularity", *(f"{popularity[name]:.4f}" for name in METRICS), "1.00", "", ""))
    for name, result in summary["modes"].items():
        rows.append(
            (
                name,
                *(f"{result[metric]:.4f}" for metric in METRICS),
                f"{result[NDCG] / popularity[NDCG]:.2f}",
                f"{result['seconds'][-1]:.1f} s",
                result["function"],
            )
        )
    print_table(f"MovieLens-100k, test, after {summary['epochs']} epochs", rows)


def check(summary: dict) -> list[str]:
    """The modes that do not clearly beat the popularity baseline."""
    if summary["epochs"] < DEFAULT_EPOCHS:
        return []
    least = BASELINE_FACTOR * summary["popularity"][NDCG]
    return [
        f"{name} does not clearly beat the popularity baseline"
        for name, result in summary["modes"].items()
        if not result[NDCG] >= least  # written so that NaN fails
    ]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--modes", nargs="+", choices=MODES, default=list(MODES), help="default: all of them"
    )
    parser.add_argument("--epochs", type=int, default=DEFAULT_EPOCHS)
    parser.add_argument("--batch", type=int, default=DEFAULT_BATCH, help="positives of a step")
    parser.add_argument("--temperature", type=float, help="default: each mode's own, see MODES")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path("build/modes"), help="folder for the results"
    )
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    began = time.perf_counter()
    data = load(data_file(), validation=HELD_OUT, test=HELD_OUT)
    if not 1 <= options.batch <= len(data.train) or options.epochs < 1:
        sys.exit(f"recommender_modes: --batch must be in 1..{len(data.train)}, --epochs >= 1")
    if options.temperature is not None and not 0 < options.temperature < math.inf:
        sys.exit("recommender_modes: --temperature must be > 0 and finite")
    print(
        f"MovieLens-100k: {data.users} users, {data.items} items, {len(data.train):,} interactions "
        f"to train on, then {HELD_OUT} of each user for validation and the last {HELD_OUT} to "
        f"test; {torch.get_num_threads()} threads"
    )

    modes = {name: MODES[name] for name in options.modes}
    if options.temperature is not None:
        modes = {
            name: replace(mode, temperature=options.temperature) for name, mode in modes.items()
        }
    runs = {
        name: train(name, mode, data, options.epochs, options.batch, options.seed)
        for name, mode in modes.items()
    }
    by_popularity = data.item_frequency.expand(data.users, -1)
    summary = {
        "batch": options.batch,
        "epochs": options.epochs,
        "seed": options.seed,
        "machine": processor(),
        "threads": torch.get_num_threads(),
        "build": fastloss.build_info(),
        "popularity": evaluate(by_popularity, data, "test", *METRICS),
        "modes": {
            name: {
                **evaluate(model_scores(run.model, data.test, data), data, "test", *METRICS),
                "function": modes[name].function,
                "temperature": modes[name].temperature,
                "negatives": modes[name].negatives,
                "final_loss": run.final_loss,
                "seconds": run.seconds,
                "curve": run.curve,
            }
            for name, run in runs.items()
        },
    }

    options.out.mkdir(parents=True, exist_ok=True)
    baseline = evaluate(by_popularity, data, "validation", NDCG)[NDCG]
    plot(runs, baseline, options.out / "modes.png")
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print_summary(summary)
    print(f"\nwrote {options.out / 'summary.json'} and {options.out / 'modes.png'}")
    print(f"{time.perf_counter() - began:.0f} s in all")
    failures = check(summary)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
