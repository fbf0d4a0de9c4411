"""The table of docs/ranking.md: the value that another library gives, from an option or a factor.

Each peer's formula is written out here as its documentation states it, one pair at a time, on
lists of unequal length; where a peer publishes numbers, they are compared too.
"""

import math

import pytest
import torch
from torch import tensor

import fastloss
from case import generator

# b lists in a frame of LONGEST places; the last two are shorter.
LONGEST = 7
LENGTHS = (7, 5, 2)


def batch(seed=0):
    shape = (len(LENGTHS), LONGEST)
    scores = 2 * torch.randn(*shape, generator=generator(seed), dtype=torch.float64)
    labels = torch.randint(0, 4, shape, generator=generator(seed + 1))
    where = torch.arange(LONGEST) < tensor(LENGTHS)[:, None]
    return scores.masked_fill(~where, math.nan), labels.masked_fill(~where, -1), where


SCORES, LABELS, WHERE = batch()
WEIGHTS = torch.rand(SCORES.shape, generator=generator(5), dtype=torch.float64) + 0.5


def pairs():
    """(list, i, j) with label i above label j, of real items."""
    for k, length in enumerate(LENGTHS):
        for i in range(length):
            for j in range(length):
                if LABELS[k, i] > LABELS[k, j]:
                    yield k, i, j


def logistic(gap):
    return math.log1p(math.exp(-abs(gap))) + max(-gap, 0.0)


def hinge(gap):
    return max(0.0, 1 - gap)


def over_pairs(term, weight=lambda k, i, j: 1.0):
    """The weighted terms of all pairs with their list."""
    return [
        (k, weight(k, i, j) * term((SCORES[k, i] - SCORES[k, j]).item())) for k, i, j in pairs()
    ]


def total(terms):
    return sum(value for _, value in terms)


def by_list(terms):
    return [sum(value for k, value in terms if k == wanted) for wanted in range(len(LENGTHS))]


def ours(name, **options):
    return getattr(fastloss, name)(SCORES, LABELS, where=WHERE, **options)


def agrees(got, expected):
    assert got.tolist() == pytest.approx(expected, rel=1e-12)


PAIRWISE = [("ranknet_loss", logistic), ("pairwise_hinge_loss", hinge)]


@pytest.mark.parametrize(("name", "term"), PAIRWISE)
def test_rax_pairwise(name, term):
    """rax.pairwise_logistic_loss, rax.pairwise_hinge_loss: mean over the pairs of the batch."""
    terms = over_pairs(term)
    agrees(ours(name), total(terms) / len(terms))


@pytest.mark.parametrize(("name", "term"), PAIRWISE)
def test_rax_pairwise_with_item_weights(name, term):
    """rax divides by the number of pairs, not by their weights."""
    terms = over_pairs(term, lambda k, i, j: WEIGHTS[k, i].item())
    number = len(list(pairs()))
    agrees(ours(name, weights=WEIGHTS, reduction="sum") / number, total(terms) / number)


def softmax_losses(target):
    """−Σ p log softmax(s) a list, with p from the labels of its real items."""
    losses = []
    for k, length in enumerate(LENGTHS):
        p = target(LABELS[k, :length].double())
        losses.append(-(p * SCORES[k, :length].log_softmax(0)).sum().item())
    return losses


def test_rax_softmax():
    """rax.softmax_loss takes labels as they are; with label_fn=normalize_probabilities, shares."""
    agrees(ours("listnet_loss", target="raw"), sum(softmax_losses(lambda y: y)) / 3)
    shares = softmax_losses(lambda y: y / y.sum())
    agrees(ours("listnet_loss", target="normalize"), sum(shares) / 3)


@pytest.mark.parametrize(
    ("power", "weight"),
    [
        (1, None),
        (1, lambda a, b: a - b),  # weight_by_diff
        (2, lambda a, b: a**2 - b**2),  # weight_by_diff_powed
    ],
    ids=["plain", "difference", "difference of squares"],
)
def test_allrank_ranknet(power, weight):
    """BCEWithLogitsLoss(weight): the mean over the number of pairs."""
    terms = over_pairs(
        logistic,
        (lambda k, i, j: 1.0)
        if weight is None
        else (lambda k, i, j: weight(LABELS[k, i].item(), LABELS[k, j].item())),
    )
    labels = torch.where(WHERE, LABELS**power, -1)
    got = fastloss.ranknet_loss(
        SCORES, labels, where=WHERE, pair_weight="none" if weight is None else "label_diff"
    )
    agrees(got, total(terms) / len(terms))


def test_allrank_and_sentence_transformers_listnet():
    """Cross-entropy of two softmaxes; allRank adds 1e-10 to the probabilities."""
    losses = softmax_losses(lambda y: y.softmax(0))
    agrees(ours("listnet_loss"), sum(losses) / 3)
    padded = []
    for k, length in enumerate(LENGTHS):
        p = SCORES[k, :length].softmax(0) + 1e-10
        padded.append(-(LABELS[k, :length].double().softmax(0) * p.log()).sum().item())
    assert ours("listnet_loss").item() == pytest.approx(sum(padded) / 3, rel=1e-6)


def test_sentence_transformers_ranknet():
    """RankNetLoss: the mean of −log2 σ(gap) over the pairs."""
    terms = over_pairs(lambda gap: logistic(gap) / math.log(2))
    agrees(ours("ranknet_loss", log_base=2), total(terms) / len(terms))


@pytest.mark.parametrize("sigma", [1.0, 0.3])
def test_pytorchltr(sigma):
    """Sums a list, PairwiseLogisticLoss in bits."""
    bits = over_pairs(lambda gap: math.log2(1 + math.exp(-sigma * gap)))
    agrees(ours("ranknet_loss", sigma=sigma, log_base=2, reduction="none"), by_list(bits))
    agrees(ours("pairwise_hinge_loss", reduction="none"), by_list(over_pairs(hinge)))


@pytest.mark.parametrize(("name", "term"), PAIRWISE)
def test_tf_ranking_pairwise(name, term):
    """Keras' mean divides by b × padded length."""
    expected = total(over_pairs(term)) / (len(LENGTHS) * LONGEST)
    agrees(ours(name, reduction="sum") / (len(LENGTHS) * LONGEST), expected)


@pytest.mark.parametrize(
    ("name", "published"),
    [("ranknet_loss", (0.39906943, 0.3109182)), ("pairwise_hinge_loss", (0.6, 0.41666666))],
)
def test_tf_ranking_published_numbers(name, published):
    function = getattr(fastloss, name)
    one = function(tensor([[0.6, 0.8]]), tensor([[1.0, 0.0]]), reduction="sum") / (1 * 2)
    scores, labels = tensor([0.6, 0.8, 0.5, 0.8, 0.4]), tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    two = function(scores, labels, offsets=tensor([0, 2, 5]), reduction="sum") / (2 * 3)
    assert (one.item(), two.item()) == pytest.approx(published, rel=1e-6)


def test_tf_ranking_softmax():
    """Softmax cross-entropy weighted by the sum of the labels: the labels as they are."""
    agrees(ours("listnet_loss", target="raw"), sum(softmax_losses(lambda y: y)) / 3)
    scores, labels = tensor([0.6, 0.8, 0.5, 0.8, 0.4]), tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    got = fastloss.listnet_loss(scores[:2], labels[:2], target="raw")
    assert got.item() == pytest.approx(0.7981389, rel=1e-6)
    got = fastloss.listnet_loss(scores, labels, offsets=tensor([0, 2, 5]), target="raw")
    assert got.item() == pytest.approx(0.83911896, rel=1e-6)


def test_xgboost_pairwise_gradient():
    """rank:pairwise without normalisation, over all pairs: σ(s_i − s_j) − 1 up, its negative down.

    LightGBM's lambdarank has these λ times |ΔNDCG|, and σ before the gap.
    """
    expected = torch.zeros_like(SCORES)
    for k, i, j in pairs():
        slope = torch.sigmoid(SCORES[k, i] - SCORES[k, j]) - 1
        expected[k, i] += slope
        expected[k, j] -= slope
    scores = SCORES.clone().requires_grad_()
    fastloss.ranknet_loss(scores, LABELS, where=WHERE, reduction="sum").backward()
    torch.testing.assert_close(scores.grad, expected, rtol=1e-12, atol=1e-14)
