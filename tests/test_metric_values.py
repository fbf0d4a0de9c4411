"""Losses of rows against rows: values spelled out as arithmetic, and what two of them warn of."""

import sys
import warnings
from math import exp, log1p, sqrt

import pytest
import torch
from torch import tensor

import fastloss
from case import generator

# The module; the package has the function under this name.
contrastive_module = sys.modules["fastloss.metric.contrastive_loss"]


def exactly(*rows):
    return tensor(rows, dtype=torch.float64)


# Two triplets: distances 5, 2 and √13 (positive to negative), then 1, 3 and √10.
ANCHOR = exactly([0.0, 0.0], [1.0, 0.0])
POSITIVE = exactly([3.0, 4.0], [1.0, 1.0])
NEGATIVE = exactly([0.0, 2.0], [4.0, 0.0])
TRIPLETS = (ANCHOR, POSITIVE, NEGATIVE)


def each(*tensors, loss="triplet_margin_loss", **options):
    return getattr(fastloss, loss)(*tensors, reduction="none", **options).tolist()


def approx(*values):
    return pytest.approx(list(values), rel=1e-14)


def test_triplet_margin_of_two_triplets():
    assert each(*TRIPLETS) == approx(5 - 2 + 1, 0)
    assert each(*TRIPLETS, margin=2.5) == approx(5 - 2 + 2.5, 1 - 3 + 2.5)
    assert fastloss.triplet_margin_loss(*TRIPLETS, margin=2.5).item() == (5.5 + 0.5) / 2
    soft = each(*TRIPLETS, margin=0.0, hinge="softplus")
    assert soft == approx(log1p(exp(5 - 2)), log1p(exp(1 - 3)))


def test_triplet_margin_of_other_distances():
    assert each(*TRIPLETS, similarity="sqeuclidean") == approx(25 - 4 + 1, 0)
    assert each(*TRIPLETS, p=1.0) == approx(7 - 2 + 1, 0)
    cubes = (27 + 64) ** (1 / 3)
    assert each(*TRIPLETS, p=3.0, margin=3.0) == approx(cubes - 2 + 3, 1 - 3 + 3)
    # Dot products: 0 and 0; 1 and 4.
    assert each(*TRIPLETS, similarity="dot", margin=0.5) == approx(0.5, -1 + 4 + 0.5)
    # A zero row has cosine 0 with everything; (1, 0) has 1/√2 with (1, 1).
    cosine = each(*TRIPLETS, similarity="cosine", margin=0.5)
    assert cosine == approx(1 - 1 + 0.5, (1 - 1 / sqrt(2)) - (1 - 1) + 0.5)


def test_triplet_margin_with_eps_and_swap():
    shifted = each(*TRIPLETS, eps=1.0)  # differences (−2, −3) and (1, −1); (1, 0) and (−2, 1)
    assert shifted == approx(sqrt(13) - sqrt(2) + 1, 0)
    assert each(*TRIPLETS, eps=1.0, margin=2.0)[1] == pytest.approx(1 - sqrt(5) + 2, rel=1e-14)
    nearer = exactly([3.0, 3.0], [1.0, 0.5])  # 1 and ½ from the positives
    assert each(ANCHOR, POSITIVE, nearer, swap=True) == approx(5 - 1 + 1, 1 - 0.5 + 1)
    assert each(*TRIPLETS, swap=True) == approx(5 - 2 + 1, 0)


def test_triplet_margin_of_several_negatives():
    """The mean is over triplets, the anchors' weights in its divisor too."""
    negatives = torch.stack([NEGATIVE, exactly([6.0, 8.0], [1.0, 0.5])], 1)
    rows = [(5 - 2 + 1) + 0, 0 + (1 - 0.5 + 1)]  # 5 − 10 + 1 and 1 − 3 + 1 are negative
    assert each(ANCHOR, POSITIVE, negatives) == approx(*rows)
    weights = tensor([3.0, 1.0])
    loss = fastloss.triplet_margin_loss(ANCHOR, POSITIVE, negatives, weights=weights)
    assert loss.item() == pytest.approx((3 * rows[0] + rows[1]) / (2 * (3 + 1)), rel=1e-14)


def test_triplet_margin_gradient_by_hand():
    """(a − p)/5 − (a − n)/2 for the active triplet, nothing for the other; times the upstream."""
    rows = [x.clone().requires_grad_() for x in TRIPLETS]
    fastloss.triplet_margin_loss(*rows).backward(tensor(-6.0, dtype=torch.float64))
    to_positive, to_negative = [-3 / 5, -4 / 5], [0.0, -1.0]
    factor = -6 / 2
    expected = [
        [factor * (s - t) for s, t in zip(to_positive, to_negative, strict=True)],
        [-factor * s for s in to_positive],
        [factor * t for t in to_negative],
    ]
    for row, gradient in zip(rows, expected, strict=True):
        assert row.grad[0].tolist() == approx(*gradient)
        assert row.grad[1].tolist() == [0.0, 0.0]


def test_labelled_triplet_by_its_three_distances():
    # 2 · 25 − 13 − 4 + 1, and exchanged 2 · 4 − 13 − 25 + 1; 2 · 1 − 10 − 9 + 1 and 2 · 9 − 10 − 1.
    name = "labelled_triplet_loss"
    assert each(*TRIPLETS, tensor([1, 1]), loss=name) == approx(34, 0)
    assert each(*TRIPLETS, tensor([0, 0]), loss=name) == approx(0, 8)
    unhinged = each(*TRIPLETS, tensor([0, 1]), loss=name, hinge="none", margin=0.5)
    assert unhinged == approx(8 - 13 - 25 + 0.5, 2 - 10 - 9 + 0.5)
    soft = each(*TRIPLETS, tensor([True, False]), loss=name, hinge="softplus", margin=0.0)
    assert soft == approx(log1p(exp(33)), log1p(exp(7)))
    # Two rows that lie 1/1024 apart, at 100: nothing is left of a difference of squares.
    a, p, n = (tensor([[x]]) for x in (100.0, 100 + 2.0**-10, 100 - 2.0**-10))
    loss = fastloss.labelled_triplet_loss(a, p, n, tensor([1]), margin=1.0)
    assert loss.item() == pytest.approx(1 + (2 - 4 - 1) * 2.0**-20, rel=1e-7)


def test_the_unhinged_triplet_has_no_least_value_and_its_margin_no_gradient():
    tensors = (*TRIPLETS, tensor([0, 1]))
    grown = (*(100 * x for x in TRIPLETS), tensor([0, 1]))

    def gradient(**options):
        rows = [x.clone().requires_grad_() for x in TRIPLETS]
        fastloss.labelled_triplet_loss(*rows, tensor([0, 1]), **options).backward()
        return rows[0].grad

    loss = fastloss.labelled_triplet_loss
    assert loss(*grown, hinge="none") < 5000 * loss(*tensors, hinge="none") < 0
    assert torch.equal(gradient(margin=0.0, hinge="none"), gradient(margin=50.0, hinge="none"))
    # The hinge stops where the margin is kept.
    assert loss(*grown) == 0
    assert not torch.equal(gradient(margin=0.0), gradient(margin=50.0))


# Pairs at distance 5 (similar), 2, 1 and 0.
X1 = exactly([0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 2.0])
X2 = exactly([3.0, 4.0], [0.0, 2.0], [1.0, 1.0], [1.0, 2.0])
LABEL = tensor([1, 0, 0, 1])


@pytest.fixture
def unwarned(monkeypatch):
    monkeypatch.setattr(contrastive_module, "_has_warned", False)


@pytest.fixture
def warned(monkeypatch):
    monkeypatch.setattr(contrastive_module, "_has_warned", True)


def test_contrastive_of_four_pairs(warned):
    def pairs(**options):
        return each(X1, X2, LABEL, loss="contrastive_loss", margin=3.0, **options)

    assert pairs() == approx(25 / 2, (3 - 2) ** 2 / 2, (3 - 1) ** 2 / 2, 0)
    assert pairs(scale=1.0) == approx(25, 1, 4, 0)
    assert pairs(scale=1.0, negative_term="margin_sq_minus_d_sq") == approx(25, 9 - 4, 9 - 1, 0)
    assert pairs(scale=1.0, negative_term="linear") == approx(5, 3 - 2, 3 - 1, 0)
    assert pairs(scale=1.0, negative_term="as_published") == approx(25 - 9, 4, 1, 0)
    assert pairs(scale=1.0, similar_label=0) == approx(0, 4, 1, 9)
    assert pairs(scale=1.0, similarity="sqeuclidean") == approx(625, 0, (3 - 1) ** 2, 0)
    mean = fastloss.contrastive_loss(X1, X2, LABEL, margin=3.0)
    assert mean.item() == (12.5 + 0.5 + 2 + 0) / 4


def test_contrastive_of_cosines():
    """cos = 0 for a zero row, 1/√2 for (1, 0) and (1, 1), 1 for equal ones."""
    far = 1 - 1 / sqrt(2)
    got = each(X1, X2, LABEL, loss="contrastive_loss", similarity="cosine", scale=1.0)
    assert got == pytest.approx([1, 0, (1 - far) ** 2, 0], rel=1e-14, abs=1e-30)


def test_as_published_warns_once(unwarned):
    with pytest.warns(UserWarning, match="attracts similar and dissimilar rows alike") as caught:
        fastloss.contrastive_loss(X1, X2, LABEL, negative_term="as_published")
    assert caught[0].filename == __file__, "the caller's line is named"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastloss.contrastive_loss(X1, X2, LABEL, negative_term="as_published")


def trained(**options):
    """Distances of similar and of other pairs after descent on two classes of points."""
    x = torch.randn(12, 3, generator=generator(0), dtype=torch.float64).requires_grad_()
    first, second = torch.triu_indices(12, 12, 1)
    label = (first % 2 == second % 2).long()
    for _ in range(600):
        loss = fastloss.contrastive_loss(x[first], x[second], label, **options)
        (slope,) = torch.autograd.grad(loss, x)
        x.data.sub_(slope)
    distances = (x[first] - x[second]).norm(dim=1)
    return distances[label == 1].max().item(), distances[label == 0].min().item()


def test_as_published_collapses_all_embeddings(warned):
    """Nothing holds the classes apart; the loss of max(0, m − d)² does."""
    near, far = trained(negative_term="as_published")
    assert max(near, far) < 1e-2
    near, far = trained()
    assert near < 0.5 < far


@pytest.mark.parametrize("similar_label", [0, 1])
def test_as_published_repels_nothing_whatever_the_label_means(similar_label, warned):
    """∂L/∂x1 never points at x2: no step of descent lengthens a distance."""

    def slopes(**options):
        x1 = torch.randn(40, 3, generator=generator(1), dtype=torch.float64).requires_grad_()
        x2 = torch.randn(40, 3, generator=generator(2), dtype=torch.float64) / 2
        label = torch.arange(40) % 2
        fastloss.contrastive_loss(x1, x2, label, similar_label=similar_label, **options).backward()
        return (x1.grad * (x1.detach() - x2)).sum(1)

    assert (slopes(negative_term="as_published", margin=1.5) >= 0).all()
    assert (slopes(margin=1.5) < 0).any()
