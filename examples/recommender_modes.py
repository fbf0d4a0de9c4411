"""One two-tower recommender on MovieLens-100k, trained in four retrieval modes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
    Interactions,
    TwoTower,
    data_file,
    load,
    model_scores,
    print_table,
    processor,
    retrieval_metrics,
)

matplotlib.use("Agg")  # no display needed
import matplotlib.pyplot as plt

TOP_K = 20
HELD_OUT = 5
METRICS = {
    f"recall@{TOP_K}": RetrievalRecall(top_k=TOP_K),
    f"ndcg@{TOP_K}": RetrievalNormalizedDCG(top_k=TOP_K),
    "map": RetrievalMAP(),
}
CURVE = {k: v for k, v in METRICS.items() if k.startswith("ndcg")}


def bce(scores, target):
    return F.binary_cross_entropy_with_logits(scores, target)

def bpr(positive, negative):
    return F.softplus(negative - positive[:, None]).mean()

def sampled(positive, negative, temperature, positive_log_q, negative_log_q, negative_where):
    p = positive / temperature - positive_log_q
    n = negative / temperature - negative_log_q
    n = n.masked_fill(~negative_where, -torch.inf)
    return F.cross_entropy(torch.cat([p[:, None], n], 1), torch.zeros(len(p), dtype=torch.long))


def cosines(query, item, table):
    return torch.einsum("bd,bnd->bn", query, F.embedding(item - 1, table))


class Sampler:
    def __init__(self, data, seed):
        self.g = torch.Generator().manual_seed(seed)
        self.data = data
        self.seen = torch.zeros(data.users + 1, data.items + 1, dtype=torch.bool)
        self.seen[data.train.user, data.train.item] = True

    def unseen(self, user, n):
        user = user[:, None].expand(-1, n)
        item = torch.randint(1, self.data.items + 1, user.shape, generator=self.g)
        while True:
            again = self.seen[user, item]
            k = int(again.sum())
            if not k: return item
            item[again] = torch.randint(1, self.data.items + 1, (k,), generator=self.g)

    def popular(self, user, n):
        return torch.multinomial(self.data.item_frequency, len(user) * n, replacement=True, generator=self.g).view(-1, n)


def step_loss(mode, model, pairs, sampler, data, o):
    query = F.normalize(model.users(pairs))
    table = F.normalize(model.items(torch.arange(1, data.items + 1)))
    t = o["tau"]
    if mode == "catalogue":
        return fastloss.linear_cross_entropy(query / t, table, pairs.item - 1)
    if mode == "list":
        neg = sampler.popular(pairs.user, o["n"])
        lq = data.item_frequency.log()
        s = cosines(query, torch.cat([pairs.item[:, None], neg], 1), table)
        return sampled(s[:, 0], s[:, 1:], t, lq[pairs.item], lq[neg], neg != pairs.item[:, None])
    neg = sampler.unseen(pairs.user, o["n"])
    s = cosines(query, torch.cat([pairs.item[:, None], neg], 1), table) / t
    if mode == "pair":
        return bpr(s[:, 0], s[:, 1:])
    target = torch.zeros_like(s); target[:, 0] = 1
    return bce(s, target)


def train(mode, data, o, epochs, batch, seed, test=False):
    torch.manual_seed(seed)
    model = TwoTower(data.users, data.items)
    opt = torch.optim.Adam(model.parameters(), lr=o["lr"], weight_decay=o.get("wd", 0))
    g = torch.Generator().manual_seed(seed)
    sampler = Sampler(data, seed)
    steps = len(data.train) // batch
    T = 0
    res = []
    for e in range(epochs):
        order = torch.randperm(len(data.train), generator=g)
        t0 = time.perf_counter()
        for rows in order[: steps * batch].split(batch):
            opt.zero_grad()
            l = step_loss(mode, model, data.train[rows], sampler, data, o)
            l.backward()
            opt.step()
        T += time.perf_counter() - t0
        m = retrieval_metrics(model_scores(model, data.validation, data), data.validation, [data.train], CURVE)
        res.append(round(m[f"ndcg@{TOP_K}"], 4))
    full = retrieval_metrics(model_scores(model, data.validation, data), data.validation, [data.train], METRICS)
    print(mode, o, "time", round(T, 1), res, {k: round(v, 4) for k, v in full.items()}, round(l.item(), 3), flush=True)
    return model


if __name__ == "__main__":
    data = load(data_file(), validation=HELD_OUT, test=HELD_OUT)
    for spec in sys.argv[2:]:
        mode, tau, n, lr, b, wd = spec.split(",")
        train(mode, data, dict(tau=float(tau), n=int(n), lr=float(lr), wd=float(wd)), int(sys.argv[1]), int(b), 0)
