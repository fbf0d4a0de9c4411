"""batch_hard_triplet_loss: its variants, edges and errors."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

import bad_arguments as bad
import labelled
from case import Case, Edge, Variant
from fastloss.reference.metric._candidates import distances, positives_and_negatives
from fastloss.reference.metric.batch_hard_triplet_loss import rows_of_distances
from fastloss.reference.reduction import reduce_rows
from labelled import INVARIANCES, REFERENCES, eager_distances
from one_set import set_products
from pairwise import SIMILARITIES, PairSize


def draw(generator, dtype, size):
    return dict(_drawn(generator.initial_seed(), dtype, size))


@cache
def _drawn(seed, dtype, size):
    """Inputs whose hardest rows are the hardest, and whose hinges are open or shut, by more than a
    rounding error: others are drawn again. Not where inputs are large: there nothing is compared.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(100):
        inputs = labelled._candidate(generator, dtype, size)
        if size.n * max(size.n, size.m) > 1 << 17 or all(
            _is_clear(inputs, refs) for refs in (False, True)
        ):
            return inputs
    raise AssertionError(f"no clear inputs of size {size}")


def _is_clear(inputs, with_references):
    refs = [inputs[name] if with_references else None for name in REFERENCES]
    positive, negative = positives_and_negatives(inputs["labels"], refs[1])
    both = positive.any(1) & negative.any(1)
    if not both.any():
        return True
    rows = inputs["embeddings"].double()
    for similarity in SIMILARITIES:
        of_pairs = distances(rows, None if refs[0] is None else refs[0].double(), similarity)[both]
        least = 3e-6 * of_pairs.abs().max()
        hardest = []
        for mask, sign in ((positive[both], 1), (negative[both], -1)):
            kept = (sign * of_pairs).masked_fill(~mask, -torch.inf)
            ordered = kept.sort(1, descending=True).values[:, :2]
            if ordered.shape[1] == 2 and (ordered[:, 0] - ordered[:, 1]).min() <= least:
                return False
            hardest.append(sign * ordered[:, 0])
        gaps = hardest[0] - hardest[1]
        if any((gaps + margin).abs().min() <= least for margin in labelled.MARGINS):
            return False
    return True


def variants():
    references = {name: name for name in REFERENCES}
    for similarity in SIMILARITIES:
        options = {"similarity": similarity}
        softplus = {"hinge": "softplus", "margin": 0.0}
        yield Variant(f"{similarity}, plain", options | {"margin": 0.3}, {})
        yield Variant(f"{similarity}, softplus", options | softplus, {})
        yield Variant(f"{similarity}, references", options, references)
        yield Variant(f"{similarity}, all anchors", options | {"anchors": "all"}, {})
        yield Variant(
            f"{similarity}, all",
            options | {"anchors": "all", "hinge": "softplus", "margin": 0.3},
            references,
        )


def eager_batch_hard_triplet_loss(
    embeddings,
    labels,
    *,
    ref_embeddings=None,
    ref_labels=None,
    margin=1.0,
    similarity="euclidean",
    hinge="relu",
    anchors="valid",
    reduction="mean",
):
    of_pairs = eager_distances(embeddings, ref_embeddings, similarity)
    loss, counts = rows_of_distances(of_pairs, labels, ref_labels, margin, hinge, anchors)
    return reduce_rows(loss, counts, None, reduction)


def edges():
    yield from labelled.edges()
    for edge in labelled.labelled_edges("euclidean", anchors="all", hinge="softplus"):
        # A row without a positive has a loss: the reference says which.
        yield replace(edge, name=f"all anchors: {edge.name}", rows=edge.rows and None)

    def at_the_kink(dtype):
        """d₊ − d₋ + m = 0 of row 0, and above it of row 1."""
        return {
            "embeddings": torch.tensor([[0.0], [1.0], [2.0]], dtype=dtype),
            "labels": torch.tensor([0, 0, 1]),
        }

    yield Edge("hinge at 0", at_the_kink, rows=[0.0, 1.0, 0.0])

    def ties(dtype):
        """Every distance three times: the lowest row is chosen, and gets the gradient."""
        corners = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=dtype)
        return {
            "embeddings": torch.cat([torch.zeros(1, 2, dtype=dtype), corners, 2 * corners]),
            "labels": torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1]),
            "margin": 3.0,
        }

    yield Edge("ties", ties)


def errors():
    yield from labelled.errors()
    yield from bad.choice_errors("hinge", "none")
    yield from bad.choice_errors("anchors", "active")
    yield from bad.choice_errors("reduction", "average")


def memory_bound(arguments, wrt):
    """Bytes beside the workspace: returned gradients, and vectors: the choice, states, labels and
    their ranks, the lists of who chose whom."""
    returned = sum(arguments[name].element_size() * arguments[name].numel() for name in wrt)
    rows, references = arguments["embeddings"], arguments.get("ref_embeddings")
    count = len(rows) + (0 if references is None else len(references))
    return returned + 24 * 8 * count + 64 * 1024


def products(arguments, wrt):
    """Scores alone: the gradient is that of the chosen rows."""
    n, d = arguments["embeddings"].shape
    references = arguments.get("ref_embeddings")
    k = 0 if references is None else len(references)
    return set_products(n, k, d, False, False, False, False, itself=references is None)


CASE = Case(
    name="batch_hard_triplet_loss",
    module="BatchHardTripletLoss",
    module_options=("margin", "similarity", "hinge", "anchors"),
    draw=draw,
    required=("embeddings", "labels"),
    operands=("embeddings",),
    rows_are_independent=False,
    sizes=(
        PairSize(61, 83, 33),
        PairSize(37, 40, 70),
        PairSize(1, 1, 1),
        PairSize(3, 3, 4),
        PairSize(129, 127, 48),
        PairSize(61, 40, 17, scale=30.0),
        PairSize(40, 50, 17, offset=3.0),
    ),
    small=PairSize(4, 5, 3),
    large=PairSize(1536, 900, 64),
    variants=tuple(variants()),
    few=("cosine, all",),
    eager=eager_batch_hard_triplet_loss,
    differentiable=("embeddings", "ref_embeddings"),
    invariances=INVARIANCES,
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=memory_bound,
    products=products,
)
