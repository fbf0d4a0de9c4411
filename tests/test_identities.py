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


# ------------------------------------------------------------------------- clip, linear, logsumexp


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_clip_is_the_mean_of_info_nce_both_ways(reduction, similarity):
    image, text = normal(21, 6), normal(21, 6, seed=1)
    ids = torch.randint(9, (21,), generator=generator(2))
    weights = normal(21, seed=3).abs()
    shared = {"similarity": similarity, "key_ids": ids, "weights": weights, "reduction": reduction}

    def both_ways(image, text, scale):
        options = shared | {"temperature": 1 / scale, "label_smoothing": 0.1}
        there = fastloss.info_nce(image, text, **options)
        return (there + fastloss.info_nce(text, image, **options)) / 2

    def clip(image, text, scale):
        return fastloss.clip_loss(image, text, logit_scale=scale, label_smoothing=0.1, **shared)

    scale = torch.tensor(2.5, dtype=torch.float64)
    arguments = {"image": image, "text": text, "scale": scale}
    ours, theirs = (run(f, arguments, tuple(arguments)) for f in (clip, both_ways))
    assert_close(ours.loss, theirs.loss)
    for name in arguments:
        assert_close(ours.gradients[name], theirs.gradients[name], name)


def test_clip_of_scores_that_fall_from_tile_to_tile():
    """A column's first rows hold its maximum, more than any exponent above what follows."""
    image, text = normal(300, 6), normal(300, 6, seed=1)
    image[:140] *= 1000

    def both_ways(image, text):
        there = fastloss.info_nce(image, text, temperature=1.0, similarity="dot")
        return (there + fastloss.info_nce(text, image, temperature=1.0, similarity="dot")) / 2

    def clip(image, text):
        return fastloss.clip_loss(image, text, logit_scale=1.0, similarity="dot")

    arguments = {"image": image, "text": text}
    ours, theirs = (run(f, arguments, ("image", "text")) for f in (clip, both_ways))
    assert_close(ours.loss, theirs.loss)
    for name in arguments:
        assert_close(ours.gradients[name], theirs.gradients[name], name)


def test_clip_does_not_see_a_common_bias():
    image, text = normal(7, 3), normal(7, 3, seed=1)
    bias = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    loss = fastloss.clip_loss(image, text, logit_scale=5.0, logit_bias=bias)
    assert torch.equal(loss, fastloss.clip_loss(image, text, logit_scale=5.0))
    loss.backward()
    assert bias.grad.item() == 0


@pytest.mark.parametrize("classes", [30, 530])  # one tile, and several
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_linear_cross_entropy_is_that_of_torch(reduction, smoothing, weighted, classes):
    x, layer, bias = normal(19, 5), normal(classes, 5, seed=1), normal(classes, seed=2)
    target = torch.randint(classes, (19,), generator=generator(3))
    target[::4] = -100
    weight = normal(classes, seed=4).abs() if weighted else None
    options = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}

    def ours(x, layer, bias):
        return fastloss.linear_cross_entropy(x, layer, target, linear_bias=bias, **options)

    def theirs(x, layer, bias):
        return F.linear_cross_entropy(x, layer, target, linear_bias=bias, **options)

    arguments = {"x": x, "layer": layer, "bias": bias}
    got, expected = (run(f, arguments, tuple(arguments)) for f in (ours, theirs))
    assert_close(got.loss, expected.loss)
    for name in arguments:
        assert_close(got.gradients[name], expected.gradients[name], name)


def test_linear_cross_entropy_of_one_row():
    x, layer = normal(5), normal(8, 5, seed=1)
    for reduction in ("mean", "none"):
        one = fastloss.linear_cross_entropy(x, layer, torch.tensor(3), reduction=reduction)
        expected = F.cross_entropy(layer @ x, torch.tensor(3))
        assert one.shape == ()
        assert_close(one, expected)


@pytest.mark.parametrize("dim", [0, 1])
def test_pairwise_logsumexp_is_that_of_the_scores(dim):
    query, key, bias = normal(12, 4), normal(17, 4, seed=1), normal(17, seed=2)

    def ours(query, key, bias):
        return fastloss.pairwise_logsumexp(query, key, temperature=0.6, key_bias=bias, dim=dim)

    def theirs(query, key, bias):
        return (query @ key.T / 0.6 + bias).logsumexp(dim)

    arguments = {"query": query, "key": key, "bias": bias}
    got, expected = (run(f, arguments, tuple(arguments)) for f in (ours, theirs))
    assert_close(got.loss, expected.loss)
    for name in arguments:
        assert_close(got.gradients[name], expected.gradients[name], name)


def test_info_nce_is_a_logsumexp_less_the_positive():
    query, key = normal(9, 4), normal(14, 4, seed=1)
    lse = fastloss.pairwise_logsumexp(query, key, temperature=0.3, similarity="cosine")
    positive = F.cosine_similarity(query, key[:9]) / 0.3
    assert_close(lse - positive, fastloss.info_nce(query, key, temperature=0.3, reduction="none"))
