"""Batch-hard triplets and contrastive pairs of one set: values spelled out as arithmetic."""

import sys
import warnings
from math import exp, log1p, sqrt

import pytest
import torch
from torch import tensor

import fastloss
from case import generator

# The module; the package has the function under this name.
pairs_module = sys.modules["fastloss.metric.pairwise_contrastive_loss"]

# Classes 0, 0, 0, 1, 2 at 0, 1, 3, 5 and 9.
ROWS = tensor([[0.0], [1.0], [3.0], [5.0], [9.0]], dtype=torch.float64)
LABELS = tensor([0, 0, 0, 1, 2])


def hard(*tensors, **options):
    return fastloss.batch_hard_triplet_loss(*tensors, reduction="none", **options).tolist()


def pairs(*tensors, **options):
    return fastloss.pairwise_contrastive_loss(*tensors, reduction="none", **options).tolist()


def approx(*values):
    return pytest.approx(list(values), rel=1e-14)


def test_batch_hard_by_hand():
    """Farthest positives 3, 2, 3; nearest negatives 5, 4, 2; rows 3 and 4 have no positive."""
    assert hard(ROWS, LABELS) == approx(0, 0, 3 - 2 + 1, 0, 0)
    assert hard(ROWS, LABELS, margin=2.5) == approx(3 - 5 + 2.5, 2 - 4 + 2.5, 3 - 2 + 2.5, 0, 0)
    soft = hard(ROWS, LABELS, margin=0.0, hinge="softplus")
    assert soft == approx(log1p(exp(3 - 5)), log1p(exp(2 - 4)), log1p(exp(3 - 2)), 0, 0)
    assert fastloss.batch_hard_triplet_loss(ROWS, LABELS).item() == 2 / 3  # of three anchors


def test_batch_hard_of_other_distances():
    square = hard(ROWS, LABELS, similarity="sqeuclidean", margin=20.0)
    assert square == approx(9 - 25 + 20, 4 - 16 + 20, 9 - 4 + 20, 0, 0)
    # d = −⟨x, y⟩: the farthest positive has the smallest product, the nearest negative the largest.
    dot = hard(ROWS, LABELS, similarity="dot")
    assert dot == approx(1, -0 + 9 + 1, -0 + 27 + 1, 0, 0)
    turned = tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    cosine = hard(turned, tensor([7, 7, 8, 8]), similarity="cosine", margin=0.5)
    half = 1 / sqrt(2)
    assert cosine == approx(
        0,  # (1 − 1/√2) − 1 + ½ is negative
        (1 - half) - (1 - half) + 0.5,
        1 - (1 - half) + 0.5,
        1 - 1 + 0.5,  # a zero row
    )


def test_batch_hard_of_all_anchors():
    """Without a positive its distance is 0; the mean is over all rows, without a negative too."""
    assert hard(ROWS, LABELS, anchors="all", margin=3.0) == approx(
        3 - 5 + 3, 2 - 4 + 3, 3 - 2 + 3, 0 - 2 + 3, 0
    )
    mean = fastloss.batch_hard_triplet_loss(ROWS, LABELS, anchors="all", margin=3.0)
    assert mean.item() == pytest.approx((1 + 1 + 4 + 1 + 0) / 5, rel=1e-14)
    one_class = torch.zeros(5, dtype=torch.int64)
    assert hard(ROWS, one_class, anchors="all", hinge="softplus") == [0.0] * 5


def test_batch_hard_with_references():
    """Every reference counts, one that equals the row too; the rows are no candidates."""
    refs, ref_labels = tensor([[1.0], [4.0], [-2.0]], dtype=torch.float64), tensor([0, 1, 0])
    given = {"ref_embeddings": refs, "ref_labels": ref_labels}
    # Row 0: positives 1 and 2, negative 4; row 1: 0 and 3, 3; row 2: 2 and 5, 1; row 3: 1, 4 − 1.
    assert hard(ROWS, LABELS, margin=2.0, **given) == approx(
        2 - 4 + 2, 3 - 3 + 2, 5 - 1 + 2, 1 - 4 + 2 + 1, 0
    )
    itself = {"ref_embeddings": ROWS[:1], "ref_labels": LABELS[:1], "anchors": "all"}
    assert hard(ROWS[:1], LABELS[:1], **itself) == [0.0]


def test_batch_hard_gradient_by_hand():
    """Row 2 alone is active: away from 0, its positive, and towards 5; times the upstream."""
    rows = ROWS.clone().requires_grad_()
    fastloss.batch_hard_triplet_loss(rows, LABELS).backward(tensor(-6.0, dtype=torch.float64))
    pushed = 1 - (-1)  # (3 − 0)/3 − (3 − 5)/2
    assert rows.grad.squeeze(1).tolist() == approx(
        *(-6 / 3 * slope for slope in (-1, 0, pushed, -1, 0))
    )


@pytest.mark.parametrize("n", [9, 700])
def test_of_equal_distances_the_lowest_row_is_chosen(n):
    """All of a class in one point: the gradient is that of its first row, other than the anchor."""
    rows = (tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 12.0]]).repeat(n // 3 + 1, 1))[:n]
    labels = torch.arange(n) % 3
    rows = rows.double().requires_grad_()
    loss = fastloss.batch_hard_triplet_loss(rows, labels, margin=11.0, reduction="sum")
    of_class = [int((labels == c).sum()) for c in range(3)]
    # 0 − 5 + 11 and 0 − 10 + 11
    assert loss.item() == 6 * of_class[0] + 6 * of_class[1] + 1 * of_class[2]
    loss.backward()
    # An anchor of class 0 is taken from row 1, of 1 from row 0, of 2 from row 1; and they from it.
    expected = tensor([[0.6, 0.8]], dtype=torch.float64) * tensor([[1.0], [-1.0], [-1.0]])[labels]
    expected[0] += of_class[1] * tensor([0.6, 0.8])
    expected[1] += (of_class[2] - of_class[0]) * tensor([0.6, 0.8])
    assert torch.allclose(rows.grad, expected, atol=1e-13)


def test_distances_at_an_offset_are_exact():
    """At 100 one unit of float32 is 2⁻¹⁷: equal rows are at distance 0, the others right."""
    x = tensor([[100.0], [100.0], [100 + 2**-10], [100 + 2**-8]], requires_grad=True)
    labels = tensor([0, 0, 1, 1])
    rows = fastloss.batch_hard_triplet_loss(x, labels, margin=0.0, reduction="none")
    assert rows.tolist() == [0.0, 0.0, 2**-8 - 2**-10 - 2**-10, 0.0]
    sums = fastloss.pairwise_contrastive_loss(
        x, labels, margin=0.0, negative_term="linear", scale=1.0, reduction="none"
    )
    assert sums.tolist() == [0.0, 0.0, 2**-8 - 2**-10, 0.0]
    (step,) = torch.autograd.grad(sums.sum(), x)
    assert step.squeeze(1).tolist() == [0.0, 0.0, -1.0, 1.0]


def test_pairs_by_hand():
    """Row 0 with 1, 3 (positive), 5, 9; row 1 with 2 (positive), 4, 8; 2 with 2, 6; 3 with 4."""
    terms = [1 + 9 + 1 + 0, 4 + 4 + 0, 16 + 0, 4, 0]
    assert pairs(ROWS, LABELS, margin=6.0) == approx(*(term / 2 for term in terms))
    assert pairs(ROWS, LABELS, margin=6.0, scale=1.0) == approx(*terms)
    squares = [1 + 9 + 11 + 0, 4 + 20 + 0, 32 + 0, 20, 0]
    term = {"negative_term": "margin_sq_minus_d_sq", "scale": 1.0, "margin": 6.0}
    assert pairs(ROWS, LABELS, **term) == approx(*squares)
    linear = [1 + 3 + 1, 2 + 2, 4, 2, 0]
    assert pairs(ROWS, LABELS, margin=6.0, negative_term="linear", scale=1.0) == approx(*linear)
    mean = fastloss.pairwise_contrastive_loss(ROWS, LABELS, margin=6.0)
    assert mean.item() == pytest.approx(sum(terms) / 2 / 10, rel=1e-14)  # of 10 pairs


def test_pairs_with_references():
    refs, ref_labels = tensor([[1.0], [4.0]], dtype=torch.float64), tensor([0, 1])
    given = {"ref_embeddings": refs, "ref_labels": ref_labels, "margin": 5.0, "scale": 1.0}
    terms = [1 + 1, 0 + 4, 4 + 16, 1 + 1, 0 + 0]
    assert pairs(ROWS, LABELS, **given) == approx(*terms)
    mean = fastloss.pairwise_contrastive_loss(ROWS, LABELS, **given)
    assert mean.item() == pytest.approx(sum(terms) / 10, rel=1e-14)


@pytest.mark.parametrize("term", pairs_module.NEGATIVE_TERMS)
@pytest.mark.parametrize("n", [7, 300])
def test_pairs_are_those_of_contrastive_loss(n, term):
    rows = torch.randn(n, 3, generator=generator(1), dtype=torch.float64)
    labels = torch.randint(4, (n,), generator=generator(2))
    i, j = torch.triu_indices(n, n, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"negative_term": term, "scale": 1.5, "margin": 1.2}
        ours = fastloss.pairwise_contrastive_loss(rows, labels, **options)
        label = (labels[i] == labels[j]).long()
        listed = fastloss.contrastive_loss(rows[i], rows[j], label, **options)
    assert ours.item() == pytest.approx(listed.item(), rel=1e-13)


def test_pairs_do_not_depend_on_the_order_of_rows():
    rows = torch.randn(300, 3, generator=generator(1), dtype=torch.float64)
    labels = torch.randint(4, (300,), generator=generator(2))
    order = torch.randperm(300, generator=generator(3))
    gradients = []
    for chosen in (torch.arange(300), order):
        x = rows[chosen].requires_grad_()
        loss = fastloss.pairwise_contrastive_loss(x, labels[chosen], reduction="sum")
        loss.backward()
        gradients.append(torch.empty_like(rows).index_copy(0, chosen, x.grad))
    assert torch.allclose(*gradients, rtol=1e-11, atol=1e-11)


def test_triplets_of_batch_hard_are_those_of_triplet_margin_loss():
    """Two of a class and one other: there is one positive, one negative."""
    rows = torch.randn(3, 4, generator=generator(1), dtype=torch.float64)
    mined = fastloss.batch_hard_triplet_loss(rows, tensor([3, 3, 8]), reduction="none")
    given = fastloss.triplet_margin_loss(rows[:2], rows[[1, 0]], rows[[2, 2]], reduction="none")
    assert mined.tolist() == approx(*given.tolist(), 0.0)


def test_the_misprint_warns_once(monkeypatch):
    monkeypatch.setattr(pairs_module, "_has_warned", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            pairs(ROWS, LABELS, negative_term="as_published")
    assert [str(w.message).split(":")[0] for w in caught] == ["pairwise_contrastive_loss"]
