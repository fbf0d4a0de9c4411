"""A two-tower recommender on MovieLens-100k: eager PyTorch against fastloss.

Every interaction (user, item) of a batch is a positive pair, and the items of the others are its
negatives. Popular items are negatives more often than they should be; the logQ correction undoes
that by adding -log(sampling frequency) to an item's scores (Yi et al. 2019). An item that occurs
twice in a batch is not its own negative: that is what `key_ids` is for.

The program trains the same model twice from one seed, once with a loss that stores the n x n score
matrix and once with `fastloss.info_nce`, and checks that the loss curves agree. Then it takes one
step at a batch for which the matrix would not fit into the memory of most machines.

    python examples/movielens_two_tower.py [--epochs N] [--batch N] [--seed N] [--out DIR]

The data are the copy of MovieLens-100k (GroupLens) in the recbole package, read in place.
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
from torch import Tensor
from torchmetrics.retrieval import RetrievalNormalizedDCG, RetrievalRecall
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
from _report import median, megabytes, peak_extra_bytes, print_table, processor

matplotlib.use("Agg")  # no display needed
import matplotlib.pyplot as plt

TEMPERATURE = 0.1
TOP_K = 20
METRICS = {
    f"recall@{TOP_K}": RetrievalRecall(top_k=TOP_K),
    f"ndcg@{TOP_K}": RetrievalNormalizedDCG(top_k=TOP_K),
}
WORKSPACE = 64 << 20  # bytes fastloss may use for temporaries; its default, spelled out

# Both losses are exact to float32 rounding, yet the two trainings part slowly: Adam divides by the
# gradient's size, so a last-bit difference in a tiny gradient becomes a visible step, and training
# amplifies it from there on. So the first loss, from identical parameters, is held to rounding; the
# first epoch to 1e-4; the whole curve to 1e-2, below the scatter of the loss from batch to batch.
# For the same reason Recall may differ by a few of the 943 users, either way.
CURVE_TOLERANCES = {"first step": 1e-5, "first epoch": 1e-4, "all steps": 1e-2}

DEFAULT_EPOCHS = 10
BASELINE_FACTOR = 1.5  # after DEFAULT_EPOCHS, Recall must be at least this many times popularity's

LARGE_BATCH = 49_152
LARGE_DIM = 256

# (query, key, key_bias, key_ids) -> mean loss
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


# The two losses ---------------------------------------------------------------------------------


def eager_loss(query: Tensor, key: Tensor, key_bias: Tensor, key_ids: Tensor) -> Tensor:
    """In-batch InfoNCE as it is usually written; the n x n matrix exists several times over."""
    scores = F.normalize(query) @ F.normalize(key).T / TEMPERATURE + key_bias
    duplicate = key_ids[:, None] == key_ids
    duplicate.fill_diagonal_(False)
    scores = scores.masked_fill(duplicate, -math.inf)
    return F.cross_entropy(scores, torch.arange(len(query), device=query.device))


def fused_loss(query: Tensor, key: Tensor, key_bias: Tensor, key_ids: Tensor) -> Tensor:
    """The same loss without the matrix."""
    return fastloss.info_nce(
        query, key, temperature=TEMPERATURE, key_bias=key_bias, key_ids=key_ids
    )


LOSSES: dict[str, Loss] = {"eager": eager_loss, "fastloss": fused_loss}


def eager_bytes(n: int) -> int:
    """What `eager_loss` holds at its peak, in the backward pass of the cross entropy.

    Three float32 matrices - the saved log-softmax, the gradient that enters the log-softmax and
    the one that leaves it - and the saved boolean mask: (3 * 4 + 1) * n * n bytes.
    """
    return (3 * 4 + 1) * n * n


def fused_bytes(n: int, d: int) -> int:
    """The bound for fastloss: workspace, gradient accumulators in float32, returned gradients."""
    return WORKSPACE + 2 * (2 * n * d * 4)


# Training ---------------------------------------------------------------------------------------


@dataclass
class Run:
    """What one training leaves behind; times in seconds, one entry a step."""

    model: TwoTower
    curve: list[float] = field(default_factory=list)
    step_time: list[float] = field(default_factory=list)
    loss_time: list[float] = field(default_factory=list)


def train(name: str, data: Dataset, epochs: int, batch: int, seed: int) -> Run:
    """Train one model; the seed fixes its initial parameters and the order of the batches."""
    torch.manual_seed(seed)
    run = Run(TwoTower(data.users, data.items))
    optimiser = torch.optim.Adam(run.model.parameters(), lr=3e-3)
    steps = len(data.train) // batch  # the incomplete last batch is dropped
    bar = tqdm(total=epochs * steps, desc=f"{name:8}", unit="step", dynamic_ncols=True)
    for _ in range(epochs):
        order = torch.randperm(len(data.train))
        for rows in order[: steps * batch].split(batch):
            start = time.perf_counter()
            pairs = data.train[rows]
            user, item = run.model.users(pairs), run.model.items(pairs.item)
            bias = -data.item_frequency[pairs.item].log()
            optimiser.zero_grad()

            # The graph is cut at the embeddings only to time the loss and its gradient apart.
            query, key = user.detach().requires_grad_(), item.detach().requires_grad_()
            before = time.perf_counter()
            loss = LOSSES[name](query, key, bias, pairs.item)
            loss.backward()
            after = time.perf_counter()

            torch.autograd.backward((user, item), (query.grad, key.grad))
            optimiser.step()
            run.step_time.append(time.perf_counter() - start)
            run.loss_time.append(after - before)
            run.curve.append(loss.item())
            bar.update()
            bar.set_postfix(loss=f"{run.curve[-1]:.4f}", refresh=False)
    bar.close()
    return run


# Memory -----------------------------------------------------------------------------------------


def loss_step(
    name: str, query: Tensor, key: Tensor, bias: Tensor, ids: Tensor
) -> tuple[Tensor, ...]:
    """One forward and backward pass; returns both gradients."""
    query, key = query.detach().requires_grad_(), key.detach().requires_grad_()
    return torch.autograd.grad(LOSSES[name](query, key, bias, ids), (query, key))


def loss_memory(name: str, run: Run, data: Dataset, batch: int) -> int | None:
    """Peak extra memory of the loss, forward and backward, at the training batch."""
    pairs = data.train[torch.randperm(len(data.train))[:batch]]
    with torch.no_grad():
        query, key = run.model.users(pairs), run.model.items(pairs.item)
    bias = -data.item_frequency[pairs.item].log()
    return peak_extra_bytes(lambda: loss_step(name, query, key, bias, pairs.item))


def large_step(data: Dataset, seed: int) -> dict[str, float | int | None]:
    """One step at LARGE_BATCH: random unit embeddings, items and corrections from the data."""
    torch.manual_seed(seed)
    rows = torch.randint(len(data.train), (LARGE_BATCH,))
    ids = data.train.item[rows]
    bias = -data.item_frequency[ids].log()
    query = F.normalize(torch.randn(LARGE_BATCH, LARGE_DIM))
    key = F.normalize(torch.randn(LARGE_BATCH, LARGE_DIM))
    start = time.perf_counter()
    peak = peak_extra_bytes(lambda: loss_step("fastloss", query, key, bias, ids))
    seconds = time.perf_counter() - start
    flop = 3 * 2 * LARGE_BATCH**2 * LARGE_DIM  # three matrix products
    return {
        "batch": LARGE_BATCH,
        "d": LARGE_DIM,
        "eager_bytes_needed": eager_bytes(LARGE_BATCH),
        "fastloss_bytes_bound": fused_bytes(LARGE_BATCH, LARGE_DIM),
        "fastloss_bytes_measured": peak,
        "seconds": seconds,
        "gflop_per_second": flop / seconds / 1e9,
    }


# Report -----------------------------------------------------------------------------------------


def plot(runs: dict[str, Run], path: Path) -> None:
    """Left: both loss curves, one over the other. Right: how far they are apart."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.plot(runs["eager"].curve, color="tab:orange", linewidth=5, alpha=0.5, label="eager")
    left.plot(runs["fastloss"].curve, color="tab:blue", linewidth=1.2, label="fastloss")
    left.set(xlabel="step", ylabel="InfoNCE loss", title="Loss on MovieLens-100k")
    left.legend()
    pairs = zip(runs["eager"].curve, runs["fastloss"].curve, strict=True)
    right.semilogy([max(abs(a - b), 1e-8) for a, b in pairs], color="tab:blue")
    right.axhline(CURVE_TOLERANCES["all steps"], color="tab:red", linestyle="--", label="tolerance")
    right.set(xlabel="step", ylabel="|eager - fastloss|", title="Deviation (floor 1e-8)")
    right.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def print_summary(summary: dict) -> None:
    models, popularity = summary["models"], summary["popularity"]
    rows = [("", "popularity", *LOSSES)]
    for metric, baseline in popularity.items():
        values = (baseline, *(models[name][metric] for name in LOSSES))
        rows.append((metric, *(f"{value:.4f}" for value in values)))
    for label, entry, show in (
        ("loss, last step", "final_loss", lambda v: f"{v:.5f}"),
        ("time per step, median", "step_seconds", lambda v: f"{v * 1e3:.1f} ms"),
        ("  of it loss and gradient", "loss_seconds", lambda v: f"{v * 1e3:.1f} ms"),
        ("peak extra memory of the loss", "loss_bytes", megabytes),
    ):
        rows.append((label, "", *(show(models[name][entry]) for name in LOSSES)))
    print_table(f"MovieLens-100k, two towers, batch {summary['batch']:,}", rows)

    if large := summary["large_step"]:
        speed = f"{large['seconds']:.1f} s, {large['gflop_per_second']:.0f} Gflop/s"
        rows = [
            ("", "peak extra memory", "time"),
            ("eager, 13 n² bytes", megabytes(large["eager_bytes_needed"]), "not run"),
            ("fastloss, bound", megabytes(large["fastloss_bytes_bound"]), ""),
            ("fastloss, measured", megabytes(large["fastloss_bytes_measured"]), speed),
        ]
        print_table(f"One step at batch {large['batch']:,}, d = {large['d']}", rows)
    print(f"\nmemory: {summary['memory_is']}")
    print("the loss curves are apart by at most")
    for part, value in summary["curve_deviation"].items():
        print(f"  {part:11} {value:.1e} (allowed {CURVE_TOLERANCES[part]:.0e})")


def check(summary: dict) -> list[str]:
    """Everything the demo promises and did not keep."""
    failures = []
    for part, value in summary["curve_deviation"].items():
        if not value <= CURVE_TOLERANCES[part]:  # written so that NaN fails
            failures.append(f"{part}: the losses differ by up to {value:.2g}")
    if summary["epochs"] >= DEFAULT_EPOCHS:
        recall = f"recall@{TOP_K}"
        for name, result in summary["models"].items():
            if result[recall] < BASELINE_FACTOR * summary["popularity"][recall]:
                failures.append(f"{name} does not clearly beat the popularity baseline")
    return failures


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=DEFAULT_EPOCHS)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path("build/demo"), help="folder for the results"
    )
    parser.add_argument(
        "--skip-large", action="store_true", help="leave out the step at a huge batch"
    )
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    began = time.perf_counter()
    fastloss.workspace_limit(WORKSPACE)
    data = load(data_file())

    def evaluate(scores: Tensor) -> dict[str, float]:
        return retrieval_metrics(scores, data.test, [data.train], METRICS)

    if not 1 <= options.batch <= len(data.train) or options.epochs < 1:
        sys.exit(f"movielens_two_tower: --batch must be in 1..{len(data.train)}, --epochs >= 1")
    print(
        f"MovieLens-100k: {data.users} users, {data.items} items, {len(data.train):,} interactions "
        f"to train on, each user's last one to test; {torch.get_num_threads()} threads"
    )

    runs = {name: train(name, data, options.epochs, options.batch, options.seed) for name in LOSSES}
    models = {
        name: {
            **evaluate(model_scores(run.model, data.test, data)),
            "final_loss": run.curve[-1],
            "step_seconds": median(run.step_time),
            "loss_seconds": median(run.loss_time),
            "loss_bytes": loss_memory(name, run, data, options.batch),
            "curve": run.curve,
        }
        for name, run in runs.items()
    }
    apart = [abs(a - b) for a, b in zip(*(run.curve for run in runs.values()), strict=True)]
    if not options.skip_large:
        print(
            f"one step at batch {LARGE_BATCH:,}: {LARGE_BATCH**2 / 1e9:.1f}e9 scores ...",
            flush=True,
        )
    summary = {
        "batch": options.batch,
        "epochs": options.epochs,
        "seed": options.seed,
        "temperature": TEMPERATURE,
        "machine": processor(),
        "threads": torch.get_num_threads(),
        "build": fastloss.build_info(),
        "memory_is": "growth of the resident set (VmHWM) in one forward and backward pass",
        "popularity": evaluate(data.item_frequency.expand(data.users, -1)),
        "models": models,
        "curve_deviation": {
            "first step": apart[0],
            "first epoch": max(apart[: len(data.train) // options.batch]),
            "all steps": max(apart),
        },
        "large_step": None if options.skip_large else large_step(data, options.seed),
    }

    options.out.mkdir(parents=True, exist_ok=True)
    plot(runs, options.out / "loss_curves.png")
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print_summary(summary)
    print(f"wrote {options.out / 'summary.json'} and {options.out / 'loss_curves.png'}")
    print(f"{time.perf_counter() - began:.0f} s in all")
    failures = check(summary)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
