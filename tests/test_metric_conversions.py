"""The table of docs/metric_learning.md: the value that another library gives, from an option.

torch's functions are called; the formulas of the other packages are written out here as their
sources state them.
"""

import pytest
import torch
import torch.nn.functional as F

import fastloss
from case import generator, run

N, D = 23, 6


def normal(seed, *shape):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


TRIPLETS = dict(zip(("a", "p", "n"), (normal(seed, N, D) for seed in (1, 2, 3)), strict=True))
PAIRS = {"a": normal(4, N, D), "b": normal(5, N, D)}
LABEL = torch.randint(2, (N,), generator=generator(6))


def agree(ours, theirs, rows):
    """Value and gradients."""
    names = tuple(rows)
    got, expected = run(ours, rows, names), run(theirs, rows, names)
    torch.testing.assert_close(got.loss, expected.loss, rtol=1e-12, atol=1e-13)
    for name in names:
        torch.testing.assert_close(
            got.gradients[name], expected.gradients[name], rtol=1e-10, atol=1e-12
        )


def triplet(**options):
    return lambda a, p, n: fastloss.triplet_margin_loss(a, p, n, **options)


def contrastive(label=LABEL, **options):
    return lambda a, b: fastloss.contrastive_loss(a, b, label, **options)


# ------------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_torch_triplet_margin_loss(p, swap, reduction):
    options = {"margin": 0.7, "p": p, "swap": swap, "reduction": reduction}
    agree(
        triplet(eps=1e-6, **options),
        lambda a, p, n: F.triplet_margin_loss(a, p, n, **options),
        TRIPLETS,
    )


def test_torch_triplet_margin_with_distance_loss():
    def cosine_distance(x, y):
        return 1 - F.cosine_similarity(x, y)

    for swap in (False, True):
        agree(
            triplet(similarity="cosine", margin=0.4, swap=swap),
            lambda a, p, n, swap=swap: F.triplet_margin_with_distance_loss(
                a, p, n, distance_function=cosine_distance, margin=0.4, swap=swap
            ),
            TRIPLETS,
        )


def test_torch_cosine_embedding_loss():
    """max(0, cos − m) is max(0, (1 − m) − d)."""
    agree(
        contrastive(similarity="cosine", negative_term="linear", scale=1.0, margin=1 - 0.2),
        lambda a, b: F.cosine_embedding_loss(a, b, 2 * LABEL - 1, margin=0.2),
        PAIRS,
    )


def test_torch_hinge_embedding_loss():
    agree(
        contrastive(negative_term="linear", scale=1.0, margin=3.0),
        lambda a, b: F.hinge_embedding_loss((a - b).norm(dim=1), 2 * LABEL - 1, margin=3.0),
        PAIRS,
    )


# ------------------------------------------------------------------------- pytorch-metric-learning


def of_those_above_0(losses):
    """Its AvgNonZeroReducer."""
    return losses[losses > 0].mean()


@pytest.mark.parametrize("smooth", [False, True])
def test_pytorch_metric_learning_triplet_margin_loss(smooth):
    """On unit vectors; its mean is over the losses above 0."""

    def ours(a, p, n):
        hinge = "softplus" if smooth else "relu"
        unit = (F.normalize(x, dim=1) for x in (a, p, n))
        each = fastloss.triplet_margin_loss(*unit, margin=0.05, hinge=hinge, reduction="none")
        return of_those_above_0(each)

    def theirs(a, p, n):
        a, p, n = (F.normalize(x, dim=1) for x in (a, p, n))
        violation = (a - p).norm(dim=1) - (a - n).norm(dim=1) + 0.05
        return of_those_above_0(F.softplus(violation) if smooth else F.relu(violation))

    agree(ours, theirs, TRIPLETS)


def test_pytorch_metric_learning_triplet_margin_loss_of_cosines():
    """With CosineSimilarity the larger one is the nearer: s_an − s_ap + m."""

    def theirs(a, p, n):
        violation = F.cosine_similarity(a, n) - F.cosine_similarity(a, p) + 0.05
        return of_those_above_0(F.relu(violation))

    each = triplet(similarity="cosine", margin=0.05, reduction="none")
    agree(lambda a, p, n: of_those_above_0(each(a, p, n)), theirs, TRIPLETS)


def test_pytorch_metric_learning_contrastive_loss():
    """Means of the losses above 0, of similar and of other pairs, are added."""

    def ours(a, b):
        a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
        each = contrastive(negative_term="linear", scale=1.0, reduction="none")(a, b)
        return of_those_above_0(each[LABEL == 1]) + of_those_above_0(each[LABEL == 0])

    def theirs(a, b):
        d = (F.normalize(a, dim=1) - F.normalize(b, dim=1)).norm(dim=1)
        similar, others = F.relu(d - 0.0)[LABEL == 1], F.relu(1.0 - d)[LABEL == 0]
        return of_those_above_0(similar) + of_those_above_0(others)

    agree(ours, theirs, PAIRS)


# ------------------------------------------------------------------------------ tensorflow-addons


def test_tensorflow_addons_contrastive_loss():
    """y d² + (1 − y) max(m − d, 0)², of given distances."""

    def theirs(a, b):
        d = (a - b).norm(dim=1)
        return (LABEL * d.square() + (1 - LABEL) * (1.0 - d).clamp(min=0).square()).mean()

    agree(contrastive(scale=1.0), theirs, PAIRS)


# ---------------------------------------------------------------------------- sentence-transformers


@pytest.mark.parametrize(
    ("options", "distance"),
    [
        ({"eps": 1e-6}, F.pairwise_distance),  # EUCLIDEAN
        ({"eps": 1e-6, "p": 1.0}, lambda x, y: F.pairwise_distance(x, y, p=1)),  # MANHATTAN
        ({"similarity": "cosine"}, lambda x, y: 1 - F.cosine_similarity(x, y)),  # COSINE
    ],
    ids=["euclidean", "manhattan", "cosine"],
)
def test_sentence_transformers_triplet_loss(options, distance):
    def theirs(a, p, n):
        return F.relu(distance(a, p) - distance(a, n) + 5).mean()

    agree(triplet(margin=5, **options), theirs, TRIPLETS)


def test_sentence_transformers_contrastive_loss():
    def theirs(a, b):
        d = 1 - F.cosine_similarity(a, b)
        return (0.5 * (LABEL * d.pow(2) + (1 - LABEL) * F.relu(0.5 - d).pow(2))).mean()

    agree(contrastive(similarity="cosine", margin=0.5), theirs, PAIRS)


# --------------------------------------------------------------- the widely copied online triplets


def test_online_triplet_loss_is_of_squared_distances():
    """A list of triplets indexes the embeddings of the batch."""
    triplets = torch.randint(N, (40, 3), generator=generator(7))

    def theirs(x):
        near = (x[triplets[:, 0]] - x[triplets[:, 1]]).pow(2).sum(1)
        far = (x[triplets[:, 0]] - x[triplets[:, 2]]).pow(2).sum(1)
        return F.relu(near - far + 0.3).mean()

    def ours(x):
        a, p, n = (x[triplets[:, i]] for i in range(3))
        return fastloss.triplet_margin_loss(a, p, n, margin=0.3, similarity="sqeuclidean")

    agree(ours, theirs, {"x": TRIPLETS["a"]})


@pytest.mark.parametrize(("scale", "half"), [(0.5, 0.5), (1.0, 1.0)], ids=["siamese", "online"])
def test_its_contrastive_losses(scale, half):
    """The siamese one has a half, the online one none."""

    def theirs(a, b):
        squared = (a - b).pow(2).sum(1)
        others = F.relu(2.0 - squared.sqrt()).pow(2)
        return (half * torch.where(LABEL == 1, squared, others)).mean()

    agree(contrastive(scale=scale, margin=2.0), theirs, PAIRS)


# --------------------------------------------------------------------------------------- identities


def test_dot_with_softplus_is_bpr():
    rows = TRIPLETS
    scores = [(rows["a"] * rows[name]).sum(1) for name in ("p", "n")]
    ours = triplet(similarity="dot", hinge="softplus", margin=0.0)(**rows)
    torch.testing.assert_close(ours, fastloss.bpr_loss(*scores))


def test_dot_is_the_pairwise_margin_loss_of_scores():
    rows = TRIPLETS
    scores = [(rows["a"] * rows[name]).sum(1) for name in ("p", "n")]
    ours = triplet(similarity="dot", margin=0.8)(**rows)
    torch.testing.assert_close(ours, fastloss.pairwise_margin_loss(*scores, margin=0.8))


def test_unit_vectors_have_the_same_triplets_by_cosine_and_by_square():
    """‖x − y‖² = 2 (1 − cos)."""
    unit = {name: F.normalize(x, dim=1) for name, x in TRIPLETS.items()}
    squared = triplet(similarity="sqeuclidean", margin=0.6)(**unit)
    torch.testing.assert_close(squared, 2 * triplet(similarity="cosine", margin=0.3)(**unit))
