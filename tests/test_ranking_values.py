"""Ranking losses against arithmetic written out by hand."""

from math import exp, log

import pytest
import torch
from torch import tensor

import fastloss

# The item with label 1 scores 2 and 1.5. Gaps to the others: 2 − 1, 2 − 3; 1.5 − 1, 1.5 − 0.5.
SCORES = tensor([[2.0, 1.0, 3.0], [1.0, 0.5, 1.5]], dtype=torch.float64)
LABELS = tensor([[1, 0, 0], [0, 0, 1]])
GAPS = ((1.0, -1.0), (0.5, 1.0))
METHODS = ("pairs", "sorted")


def softplus(x):
    return log(1 + exp(x))


def sigmoid(x):
    return 1 / (1 + exp(-x))


def lse(*terms):
    return log(sum(exp(x) for x in terms))


def about(expected):
    return pytest.approx(expected, rel=1e-13)


def reductions(function, *arguments, **options):
    """All four as Python numbers."""
    return {
        name: function(*arguments, reduction=name, **options).tolist()
        for name in ("none", "sum", "mean", "mean_list")
    }


# ---------------------------------------------------------------------------------------- ranknet


@pytest.mark.parametrize("method", METHODS)
def test_ranknet_of_the_reference_batch(method):
    lists = [sum(softplus(-gap) for gap in gaps) for gaps in GAPS]
    got = reductions(fastloss.ranknet_loss, SCORES, LABELS, method=method)
    assert got["none"] == about(lists)
    assert got["sum"] == about(sum(lists))
    assert got["mean"] == about(sum(lists) / 4)
    assert got["mean_list"] == about(sum(lists) / 4)  # as many pairs in both
    assert got["mean"] == pytest.approx(0.603466, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_ranknet_gradient_by_hand(method):
    """∂ log(1 + e^{−σ gap}) / ∂ gap = −σ sigmoid(−σ gap); a gap is s_i − s_j."""
    scores = SCORES.clone().requires_grad_()
    fastloss.ranknet_loss(scores, LABELS, sigma=2.0, method=method).backward(tensor(-3.0))
    slopes = [[-2 * sigmoid(-2 * gap) for gap in gaps] for gaps in GAPS]
    (a, b), (c, d) = slopes
    expected = [[a + b, -a, -b], [-c, -d, c + d]]
    for row, expected_row in zip(scores.grad.tolist(), expected, strict=True):
        assert row == about([-3 * slope / 4 for slope in expected_row])


@pytest.mark.parametrize("method", METHODS)
def test_ranknet_ties_are_half_a_pair_each_way(method):
    """Tied gaps: 1 − 3 and 1 − 0.5. Target ½: ½ log(1 + e^{−gap}) + ½ log(1 + e^{gap})."""
    tied = [(softplus(-gap) + softplus(gap)) / 2 for gap in (1.0 - 3.0, 1.0 - 0.5)]
    lists = [sum(softplus(-g) for g in gaps) + t for gaps, t in zip(GAPS, tied, strict=True)]
    got = reductions(fastloss.ranknet_loss, SCORES, LABELS, ties="half", method=method)
    assert got["none"] == about(lists)
    assert got["mean"] == about(sum(lists) / 6)  # three pairs a list


@pytest.mark.parametrize("method", METHODS)
def test_ranknet_graded_labels_and_their_differences(method):
    """Labels 3, 0, 1 score 1, 2, 0: pairs (3, 0), (3, 1), (1, 0) with gaps −1, 1, −2."""
    scores, labels = tensor([1.0, 2.0, 0.0], dtype=torch.float64), tensor([3, 0, 1])
    losses = [softplus(1.0), softplus(-1.0), softplus(2.0)]
    plain = fastloss.ranknet_loss(scores, labels, method=method)
    assert plain.item() == about(sum(losses) / 3)
    bits = fastloss.ranknet_loss(scores, labels, method=method, log_base=2)
    assert bits.item() == about(sum(losses) / 3 / log(2))
    by_difference = fastloss.ranknet_loss(scores, labels, method=method, pair_weight="label_diff")
    weighted = 3 * losses[0] + 2 * losses[1] + 1 * losses[2]
    assert by_difference.item() == about(weighted / 3)  # pairs are counted, not their weights


@pytest.mark.parametrize("method", METHODS)
def test_ranknet_weights_are_those_of_the_higher_item(method):
    scores, labels = tensor([1.0, 2.0, 0.0], dtype=torch.float64), tensor([3, 0, 1])
    weights = tensor([2.0, 100.0, 0.5])
    losses = [2 * softplus(1.0), 2 * softplus(-1.0), 0.5 * softplus(2.0)]
    got = reductions(fastloss.ranknet_loss, scores, labels, weights=weights, method=method)
    assert got["none"] == about([sum(losses)])
    assert got["mean"] == about(sum(losses) / (2 + 2 + 0.5))
    # A tie weighs the mean of both: items 0 and 1, and item 2 below them.
    labels = tensor([1, 1, 0])
    tied = (2 + 100) / 2 * (softplus(1.0) + softplus(-1.0)) / 2
    losses = [tied, 2 * softplus(-1.0), 100 * softplus(-2.0)]
    got = fastloss.ranknet_loss(scores, labels, weights=weights, method=method, ties="half")
    assert got.item() == about(sum(losses) / (51 + 2 + 100))


@pytest.mark.parametrize("method", METHODS)
def test_ranknet_means_over_pairs_and_over_lists(method):
    """A list of two pairs, one of one pair, one without: weights 2, 3, 5."""
    scores = tensor([2.0, 1.0, 3.0, 0.5, 0.0, 1.0], dtype=torch.float64)
    labels = tensor([1, 0, 0, 1, 0, 7])
    offsets = tensor([0, 3, 5, 6])
    first, second = softplus(-1.0) + softplus(1.0), softplus(-0.5)
    given = {"offsets": offsets, "method": method}
    got = reductions(fastloss.ranknet_loss, scores, labels, **given)
    assert got["none"] == about([first, second, 0.0])
    assert got["mean"] == about((first + second) / (2 + 1))
    assert got["mean_list"] == about((first / 2 + second) / 2)
    given["list_weights"] = tensor([2.0, 3.0, 5.0])
    got = reductions(fastloss.ranknet_loss, scores, labels, **given)
    assert got["none"] == about([2 * first, 3 * second, 0.0])
    assert got["mean"] == about((2 * first + 3 * second) / (2 * 2 + 3 * 1))
    assert got["mean_list"] == about((2 * first / 2 + 3 * second) / (2 + 3))


# ------------------------------------------------------------------------------------------ hinge


@pytest.mark.parametrize("method", METHODS)
def test_hinge_of_the_reference_batch(method):
    """max(0, 1 − gap) = 0, 2; 0.5, 0."""
    got = reductions(fastloss.pairwise_hinge_loss, SCORES, LABELS, method=method)
    assert got["none"] == [0 + 2.0, 0.5 + 0]
    assert got["sum"] == 2.5
    assert got["mean"] == 0.625
    squared = reductions(fastloss.pairwise_hinge_loss, SCORES, LABELS, power=2, method=method)
    assert squared["none"] == about([0 + 4.0, 0.25 + 0])
    assert squared["mean"] == about(4.25 / 4)


@pytest.mark.parametrize("method", METHODS)
def test_hinge_gradient_by_hand(method):
    """Active pairs only: gap −1 of the first list, gap 0.5 of the second; 1 is at the kink."""
    for power, (first, second) in ((1, (1.0, 1.0)), (2, (2 * 2.0, 2 * 0.5))):
        scores = SCORES.clone().requires_grad_()
        loss = fastloss.pairwise_hinge_loss(scores, LABELS, power=power, method=method)
        loss.backward(tensor(8.0))
        expected = [[-first, 0, first], [second, 0, -second]]
        for row, expected_row in zip(scores.grad.tolist(), expected, strict=True):
            assert row == about([8 * slope / 4 for slope in expected_row])


@pytest.mark.parametrize("method", METHODS)
def test_hinge_graded_and_weighted(method):
    """Labels 3, 0, 1 score 1, 2, 0: gaps −1, 1, −2 of the pairs (3, 0), (3, 1), (1, 0)."""
    scores, labels = tensor([1.0, 2.0, 0.0], dtype=torch.float64), tensor([3, 0, 1])
    options = {"margin": 1.5, "method": method, "pair_weight": "label_diff"}
    terms = [3 * 2.5, 2 * 0.5, 1 * 3.5]
    got = fastloss.pairwise_hinge_loss(scores, labels, **options)
    assert got.item() == about(sum(terms) / 3)
    weights = tensor([2.0, 9.0, 4.0])
    got = fastloss.pairwise_hinge_loss(scores, labels, weights=weights, **options)
    assert got.item() == about((2 * terms[0] + 2 * terms[1] + 4 * terms[2]) / (2 + 2 + 4))


# ---------------------------------------------------------------------------------------- listnet


def test_listnet_of_the_reference_batch():
    normalisers = [lse(2, 1, 3), lse(1, 0.5, 1.5)]
    raw = [normalisers[0] - 2.0, normalisers[1] - 1.5]
    got = reductions(fastloss.listnet_loss, SCORES, LABELS, target="raw")
    assert got["none"] == about(raw)
    assert got["mean"] == got["mean_list"] == about(sum(raw) / 2)
    assert got["mean"] == pytest.approx(1.043938, abs=1e-6)

    top, rest = exp(1) / (exp(1) + 2), 1 / (exp(1) + 2)  # softmax of (1, 0, 0)
    soft = [
        normalisers[0] - top * 2.0 - rest * (1.0 + 3.0),
        normalisers[1] - top * 1.5 - rest * (1.0 + 0.5),
    ]
    got = reductions(fastloss.listnet_loss, SCORES, LABELS)
    assert got["none"] == about(soft)
    assert got["mean"] == pytest.approx(1.202894, abs=1e-6)


def test_listnet_targets():
    """Labels 3, 0, 1 of scores 1, 2, 0. All but "softmax" leave the item of label 0 out."""
    scores, labels = tensor([1.0, 2.0, 0.0], dtype=torch.float64), tensor([3, 0, 1])
    costs = [lse(1, 2, 0) - s for s in (1.0, 2.0, 0.0)]
    for options, target in {
        ("normalize", "exp2"): (3 / 4, 0, 1 / 4),
        ("raw", "exp2"): (3, 0, 1),
        ("gain", "linear"): (3, 0, 1),
        ("gain", "exp2"): (2**3 - 1, 0, 2**1 - 1),
        ("softmax", "exp2"): [exp(y / 0.5) / (exp(6) + 1 + exp(2)) for y in (3, 0, 1)],
    }.items():
        chosen = {"target": options[0], "gain": options[1], "label_temperature": 0.5}
        got = fastloss.listnet_loss(scores, labels, **chosen)
        expected = sum(p * cost for p, cost in zip(target, costs, strict=True))
        assert got.item() == about(expected), options


def test_listnet_gradient_by_hand():
    """(Σ P) softmax(s) − P with P = y."""
    scores = tensor([1.0, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
    fastloss.listnet_loss(scores, tensor([3, 0, 1]), target="raw").backward()
    total = exp(1) + exp(2) + exp(0)
    expected = [4 * exp(1) / total - 3, 4 * exp(2) / total, 4 * exp(0) / total - 1]
    assert scores.grad.tolist() == about(expected)


def test_listnet_counts_lists_without_a_relevant_item_but_not_empty_ones():
    scores = tensor([2.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    labels = tensor([1, 0, 0, 0])
    offsets = tensor([0, 2, 4, 4])  # one relevant item, none, no item
    given = {"target": "normalize", "offsets": offsets}
    first = lse(2, 1) - 2
    assert fastloss.listnet_loss(scores, labels, **given).item() == about((first + 0) / 2)
    weights = tensor([3.0, 1.0, 50.0])
    got = fastloss.listnet_loss(scores, labels, list_weights=weights, **given)
    assert got.item() == about((3 * first + 0) / (3 + 1))


# ------------------------------------------------------------------------------------- all layouts


@pytest.mark.parametrize("method", METHODS)
def test_holes_and_padding_are_not_read(method):
    nan, inf = torch.nan, torch.inf
    scores = tensor([[nan, 2.0, inf, 1.0, 3.0], [1.0, -inf, 0.5, 1.5, nan]], dtype=torch.float64)
    labels = tensor([[-1.0, 1, nan, 0, 0], [0, -1, 0, 1, nan]])
    where = tensor([[False, True, False, True, True], [True, False, True, True, False]])
    scores.requires_grad_()
    for name, options in (
        ("ranknet_loss", {"method": method}),
        ("pairwise_hinge_loss", {"method": method}),
        ("listnet_loss", {}),
    ):
        function = getattr(fastloss, name)
        dense = SCORES.clone().requires_grad_()
        expected = function(dense, LABELS, **options)
        got = function(scores, labels, where=where, **options)
        assert got.item() == about(expected.item()), name
        (expected_gradient,) = torch.autograd.grad(expected, dense)
        (gradient,) = torch.autograd.grad(got, scores)
        assert torch.equal(gradient[~where], torch.zeros(4, dtype=torch.float64)), name
        torch.testing.assert_close(
            gradient[where], expected_gradient.flatten(), rtol=1e-13, atol=1e-15
        )
