"""What the MovieLens examples share: the data, the two towers, the metrics.

The data are the copy of MovieLens-100k (GroupLens) in the recbole package, read in place.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.retrieval.base import RetrievalMetric

HISTORY = 10  # a user's recent items that the user tower sees


# Data -------------------------------------------------------------------------------------------


@dataclass
class Interactions:
    """User, item and the user's recent items before it (0 pads), one row an interaction."""

    user: Tensor  # (rows,)
    item: Tensor  # (rows,)
    history: Tensor  # (rows, HISTORY)

    def __getitem__(self, rows: Tensor) -> Interactions:
        return Interactions(self.user[rows], self.item[rows], self.history[rows])

    def __len__(self) -> int:
        return len(self.user)


@dataclass
class Dataset:
    """Each user's interactions in the order of time: to train on, then validation, then test."""

    train: Interactions
    validation: Interactions
    test: Interactions
    users: int  # ids run from 1 to users
    items: int
    item_frequency: Tensor  # (items + 1,): share of the training interactions


def data_file() -> Path:
    """Path of ml-100k.inter inside the installed recbole package, whose code is not imported."""
    program = Path(sys.argv[0]).stem
    hint = "install it with: pip install --no-deps recbole==1.2.1"
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{program}: MovieLens-100k comes with recbole, which is missing; {hint}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    path = folder / "dataset_example" / "ml-100k" / "ml-100k.inter"
    if not path.is_file():
        sys.exit(f"{program}: this recbole has no {path.name} at {path}; {hint}")
    return path


def load(path: Path, *, validation: int = 0, test: int = 1) -> Dataset:
    """Split each user's interactions by time; the last `test` and those before are held out."""
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    events = (
        sorted(  # ties of a user's timestamps are broken by item id, so that the split is fixed
            (int(row["user_id:token"]), float(row["timestamp:float"]), int(row["item_id:token"]))
            for row in rows
        )
    )
    user = torch.tensor([event[0] for event in events])
    item = torch.tensor([event[2] for event in events])

    position = torch.arange(len(events))
    first = torch.searchsorted(user, user)  # row at which the user's events begin
    remaining = torch.searchsorted(user, user, right=True) - position  # itself included
    before = position[:, None] - torch.arange(1, HISTORY + 1)
    history = torch.where(before >= first[:, None], item[before.clamp(min=0)], 0)

    everything = Interactions(user, item, history)
    train = everything[remaining > validation + test]
    items = int(item.max())
    count = torch.bincount(train.item, minlength=items + 1)
    return Dataset(
        train,
        everything[(remaining > test) & (remaining <= validation + test)],
        everything[remaining <= test],
        int(user.max()),
        items,
        count / len(train),
    )


# Model ------------------------------------------------------------------------------------------


class TwoTower(nn.Module):
    """User tower: user id and mean of recent items; item tower: item id. Both give d features."""

    def __init__(self, users: int, items: int, d: int = 64) -> None:
        super().__init__()
        self.user_id = nn.Embedding(users + 1, d)
        self.history = nn.EmbeddingBag(items + 1, d, mode="mean", padding_idx=0)
        self.user_mlp = nn.Sequential(nn.Linear(2 * d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))
        self.item_id = nn.Embedding(items + 1, d)
        self.item_mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))

    def users(self, rows: Interactions) -> Tensor:
        return self.user_mlp(torch.cat([self.user_id(rows.user), self.history(rows.history)], 1))

    def items(self, item: Tensor) -> Tensor:
        return self.item_mlp(self.item_id(item))


# Evaluation -------------------------------------------------------------------------------------


@torch.no_grad()
def model_scores(model: TwoTower, held_out: Interactions, data: Dataset) -> Tensor:
    """Cosine of every user, as of its first held-out row, with every item: (users, items + 1)."""
    first = torch.searchsorted(held_out.user, torch.arange(1, data.users + 1))
    query = F.normalize(model.users(held_out[first]))
    key = F.normalize(model.items(torch.arange(data.items + 1)))
    return query @ key.T


def retrieval_metrics(
    scores: Tensor,
    held_out: Interactions,
    seen: Sequence[Interactions],
    metrics: Mapping[str, RetrievalMetric],
) -> dict[str, float]:
    """Mean over the users of how well `scores` rank the held-out items among those not seen.

    Row u - 1 of scores is user u, every one of whom has held-out items.
    """
    candidate = torch.ones_like(scores, dtype=torch.bool)
    candidate[:, 0] = False  # the padding id
    for rows in seen:
        candidate[rows.user - 1, rows.item] = False
    relevant = torch.zeros_like(candidate)
    relevant[held_out.user - 1, held_out.item] = True
    assert bool(candidate[relevant].all())  # no user rates an item twice

    # To some of these metrics a score <= 0 means "not retrieved", which a cosine does not mean. The
    # places of the scores among all scores, from 1, have the same order and the same ties.
    place = torch.unique(scores[candidate], return_inverse=True)[1] + 1
    assert len(place) < 1 << 24  # float32 tells them apart
    query_index = torch.arange(len(scores))[:, None].expand_as(scores)[candidate]
    result = {}
    for name, metric in metrics.items():
        metric.update(place.float(), relevant[candidate], indexes=query_index)
        result[name] = float(metric.compute())
        metric.reset()
    return result
