"""Losses that equal other losses, and what retrieval expects of similarities."""

import pytest
import torch
import torch.nn.functional as F

import fastloss
from accuracy import assert_close
from case import generator, run


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_info_nce_is_cross_entropy_of_the_scores(reduction, smoothing):
    query, key = normal(23, 7, seed=1), normal(23, 7, seed=2)

    def cross_entropy(query, key):
        return F.cross_entropy(
            query @ key.T / 0.7,
            torch.arange(23),
            label_smoothing=smoothing,
            reduction=reduction,
        )

    def info_nce(query, key):
        return fastloss.info_nce(
            query,
            key,
            temperature=0.7,
            similarity="dot",
            label_smoothing=smoothing,
            reduction=reduction,
        )

    arguments = {"query": query, "key": key}
    ours = run(info_nce, arguments, ("query", "key"))
    theirs = run(cross_entropy, arguments, ("query", "key"))
    assert_close(ours.loss, theirs.loss)
    for name in arguments:
        assert_close(ours.gradients[name], theirs.gradients[name], name)


def test_info_nce_with_bias_is_cross_entropy_of_a_linear_layer():
    """key = weight, key_bias = bias: a classifier head."""
    x, weight, bias = normal(9, 5), normal(31, 5, seed=1), normal(31, seed=2)
    target = torch.randint(31, (9,), generator=generator(3))
    ours = fastloss.info_nce(x, weight, target, temperature=1.0, similarity="dot", key_bias=bias)
    assert_close(ours, F.cross_entropy(F.linear(x, weight, bias), target))


def test_info_nce_decoupled_is_softplus_free():
    """InfoNCE = softplus(decoupled InfoNCE), row by row: log(e^N + e^s) − s with x = N − s."""
    query, key = normal(11, 4), normal(15, 4, seed=1)
    options = {"temperature": 0.6, "reduction": "none"}
    coupled = fastloss.info_nce(query, key, **options)
    decoupled = fastloss.info_nce(query, key, decoupled=True, **options)
    assert_close(coupled, F.softplus(decoupled))


def test_similarities_of_unit_vectors_agree():
    """‖a − b‖² = 2 (1 − a·b): dot, cosine and half of −‖a − b‖² give the same loss."""
    query, key = F.normalize(normal(12, 6), dim=1), F.normalize(normal(17, 6, seed=1), dim=1)
    dot = fastloss.info_nce(query, key, temperature=0.2, similarity="dot")
    cosine = fastloss.info_nce(query, key, temperature=0.2, similarity="cosine")
    squared = fastloss.info_nce(query, key, temperature=0.4, similarity="sqeuclidean")
    assert_close(cosine, dot)
    assert_close(squared, dot)


def test_retrieval_order_is_the_same_for_unit_vectors():
    """The loss of a row ranks its keys: the lowest loss as a target is the nearest key."""
    query, key = F.normalize(normal(1, 8), dim=1), F.normalize(normal(40, 8, seed=1), dim=1)
    orders = []
    for similarity in ("dot", "cosine", "euclidean", "sqeuclidean"):
        losses = fastloss.info_nce(
            query.expand(40, -1),
            key,
            torch.arange(40),
            temperature=0.5,
            similarity=similarity,
            reduction="none",
        )
        orders.append(losses.argsort())
    assert torch.equal(orders[0], (query @ key.T)[0].argsort(descending=True))
    for order in orders[1:]:
        assert torch.equal(order, orders[0])


def test_smaller_temperature_widens():
    """When the positive wins, a smaller temperature lowers the loss; when it loses, raises it."""
    key = torch.tensor([[1.0], [-1.0], [-1.0], [-1.0]])
    temperatures = (1.0, 0.5, 0.2)
    right = [
        fastloss.info_nce(torch.ones(1, 1), key, temperature=t, similarity="dot").item()
        for t in temperatures
    ]
    wrong = [
        fastloss.info_nce(-torch.ones(1, 1), key, temperature=t, similarity="dot").item()
        for t in temperatures
    ]
    assert right == sorted(right, reverse=True)
    assert wrong == sorted(wrong)
    assert right[0] == pytest.approx(0.341, abs=5e-4)
    assert right[-1] == pytest.approx(1.36e-4, rel=2e-3)
