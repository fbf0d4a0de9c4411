"""The table of docs/metric_learning.md, of losses that take a batch with labels.

The formulas of the other packages are written out here as their sources state them: all distances,
masks by label, lists of triplets.
"""

import pytest
import torch
import torch.nn.functional as F

import fastloss
from case import generator
from test_metric_conversions import agree, normal, of_those_above_0

N, D = 24, 5
ROWS = {"x": normal(11, N, D)}
# The last row is alone in its class: no anchor has to have a positive.
LABELS = torch.cat([torch.randint(4, (N - 1,), generator=generator(12)), torch.tensor([9])])
SAME = LABELS[:, None] == LABELS
ITSELF = torch.eye(N, dtype=torch.bool)
POSITIVE, NEGATIVE = SAME & ~ITSELF, ~SAME
TRIPLETS = POSITIVE[:, :, None] & NEGATIVE[:, None, :]


def squared(x):
    return (x[:, None] - x).square().sum(-1)


def euclidean(x):
    """Root 0 with gradient 0 on the diagonal, as all of these packages see to."""
    square = squared(x)
    return torch.where(ITSELF, 0.0, torch.where(ITSELF, 1.0, square).sqrt())


def angular(x):
    return 1 - F.normalize(x, dim=1) @ F.normalize(x, dim=1).T


def unit(x):
    return F.normalize(x, dim=1)


def ours(name, **options):
    return lambda x: getattr(fastloss, name)(x, LABELS, **options)


def ours_of_units(name, **options):
    return lambda x: ours(name, **options)(unit(x))


# ------------------------------------------------------------------------- pytorch-metric-learning


def listed(d, margin):
    """Violations of its list of all triplets."""
    anchor, positive, negative = TRIPLETS.nonzero(as_tuple=True)
    return d[anchor, positive] - d[anchor, negative] + margin


@pytest.mark.parametrize("smooth", [False, True])
def test_pytorch_metric_learning_triplet_margin_loss(smooth):
    def theirs(x):
        violation = listed(euclidean(unit(x)), 0.05)
        return of_those_above_0(F.softplus(violation) if smooth else F.relu(violation))

    hinge = "softplus" if smooth else "relu"
    agree(ours_of_units("batch_all_triplet_loss", margin=0.05, hinge=hinge), theirs, ROWS)


def hardest(d):
    """Farthest positives, farthest 0 where there is none, and nearest negatives."""
    nearest = torch.where(NEGATIVE, d, torch.inf).amin(1)
    return (d * POSITIVE).amax(1), nearest


def test_pytorch_metric_learning_batch_hard_miner():
    def theirs(x):
        farthest, nearest = hardest(euclidean(unit(x)))
        valid = POSITIVE.any(1) & NEGATIVE.any(1)
        return of_those_above_0(F.relu(farthest - nearest + 0.05)[valid])

    each = ours_of_units("batch_hard_triplet_loss", margin=0.05, reduction="none")
    agree(lambda x: of_those_above_0(each(x)), theirs, ROWS)


def test_pytorch_metric_learning_semi_hard_miner():
    gap = -listed(euclidean(unit(ROWS["x"])), 0.0)
    found = (gap <= 0.2) & (gap > 0)
    statistics = fastloss.triplet_statistics(unit(ROWS["x"]), LABELS, margin=0.2)
    assert 0 < statistics.semi_hard == found.sum() < TRIPLETS.sum()


def test_pytorch_metric_learning_contrastive_loss():
    """Lists of pairs have each in both orders."""

    def theirs(x):
        d = euclidean(unit(x))
        return F.relu(d - 0.0)[POSITIVE].sum() + F.relu(1.0 - d)[NEGATIVE].sum()

    options = {"negative_term": "linear", "scale": 1.0, "reduction": "sum"}
    pairs = ours_of_units("pairwise_contrastive_loss", **options)
    agree(lambda x: 2 * pairs(x), theirs, ROWS)


# ------------------------------------------------------------------------------ tensorflow-addons

DISTANCES = [("euclidean", euclidean), ("sqeuclidean", squared), ("cosine", angular)]


def semi_hard(d, margin):
    """For every positive pair the nearest negative outside, or else the farthest one inside."""
    outside = NEGATIVE[:, None, :] & (d[:, None, :] > d[:, :, None])
    nearest = torch.where(outside, d[:, None, :], torch.inf).amin(2)
    farthest = torch.where(NEGATIVE, d, -torch.inf).amax(1, keepdim=True)
    chosen = torch.where(outside.any(2), nearest, farthest)
    return F.relu(d - chosen + margin)[POSITIVE].sum() / POSITIVE.sum()


@pytest.mark.parametrize(("similarity", "distance"), DISTANCES)
def test_tensorflow_addons_triplet_semihard_loss(similarity, distance):
    agree(
        ours("semi_hard_triplet_loss", similarity=similarity),
        lambda x: semi_hard(distance(x), 1.0),
        ROWS,
    )


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("similarity", "distance"), DISTANCES)
def test_tensorflow_addons_triplet_hard_loss(similarity, distance, soft):
    def theirs(x):
        farthest, nearest = hardest(distance(x))
        gap = farthest - nearest
        return (gap.exp().log1p() if soft else F.relu(gap + 1.0)).mean()

    options = {"hinge": "softplus", "margin": 0} if soft else {}
    options |= {"similarity": similarity, "anchors": "all"}
    agree(ours("batch_hard_triplet_loss", **options), theirs, ROWS)


# ---------------------------------------------------------------------------- sentence-transformers


def batch_all(d, margin):
    """The mean of those above 1e-16, as a quotient that 0 of them leave finite."""
    terms = F.relu((d[:, :, None] - d[:, None, :] + margin) * TRIPLETS)
    return terms.sum() / ((terms > 1e-16).sum() + 1e-16)


def test_sentence_transformers_batch_all_triplet_loss():
    ours_here = ours("batch_all_triplet_loss", margin=5)
    agree(ours_here, lambda x: batch_all(euclidean(x), 5), ROWS)


@pytest.mark.parametrize("soft", [False, True], ids=["margin", "soft margin"])
def test_sentence_transformers_batch_hard_triplet_losses(soft):
    def theirs(x):
        farthest, nearest = hardest(euclidean(x))
        gap = farthest - nearest
        return (gap.exp().log1p() if soft else F.relu(gap + 5)).mean()

    options = {"hinge": "softplus", "margin": 0} if soft else {"margin": 5}
    agree(ours("batch_hard_triplet_loss", anchors="all", **options), theirs, ROWS)


def test_sentence_transformers_batch_semi_hard_triplet_loss():
    agree(ours("semi_hard_triplet_loss", margin=5), lambda x: semi_hard(euclidean(x), 5), ROWS)


# --------------------------------------------------------------- the widely copied online triplets


@pytest.mark.parametrize(("similarity", "distance"), DISTANCES[:2])
def test_online_batch_all(similarity, distance):
    agree(
        ours("batch_all_triplet_loss", margin=0.5, similarity=similarity),
        lambda x: batch_all(distance(x), 0.5),
        ROWS,
    )


@pytest.mark.parametrize(("similarity", "distance"), DISTANCES[:2])
def test_online_batch_hard(similarity, distance):
    """The farthest of masked distances, and the nearest with the row's largest added to others."""

    def theirs(x):
        d = distance(x)
        nearest = (d + d.amax(1, keepdim=True) * ~NEGATIVE).amin(1)
        return F.relu((d * POSITIVE).amax(1) - nearest + 0.5).mean()

    options = {"margin": 0.5, "similarity": similarity, "anchors": "all"}
    agree(ours("batch_hard_triplet_loss", **options), theirs, ROWS)


def test_online_contrastive_loss():
    """All pairs i < j, the similar ones first, and their plain mean."""

    def theirs(x):
        first, second = torch.triu_indices(N, N, 1)
        square, same = squared(x)[first, second], SAME[first, second]
        apart = F.relu(1.0 - square[~same].sqrt()).pow(2)
        return torch.cat([square[same], apart]).mean()

    agree(ours("pairwise_contrastive_loss", scale=1.0), theirs, ROWS)
