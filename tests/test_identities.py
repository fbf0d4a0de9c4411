"""Losses that equal other losses, and what retrieval expects of similarities."""

import pytest
import torch
import torch.nn.functional as F

import fastloss
from accuracy import assert_close
from case import generator, normal, run


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


# -------------------------------------------------------------------------------- nt_xent, sup_con


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_sup_con_of_pairs_is_nt_xent(reduction, similarity):
    n = 150  # several tiles
    view1, view2 = normal(n, 6, seed=1), normal(n, 6, seed=2)
    labels = torch.arange(n).repeat(2)
    tau = torch.tensor(0.7, dtype=torch.float64)
    shared = {"similarity": similarity, "reduction": reduction}

    def sup_con(view1, view2, temperature):
        z = torch.cat([view1, view2])
        return fastloss.sup_con(z, labels, temperature=temperature, **shared)

    def nt_xent(view1, view2, temperature):
        return fastloss.nt_xent(view1, view2, temperature=temperature, **shared)

    arguments = {"view1": view1, "view2": view2, "temperature": tau}
    ours, theirs = (run(f, arguments, tuple(arguments)) for f in (nt_xent, sup_con))
    assert_close(ours.loss, theirs.loss)
    for name in arguments:
        assert_close(ours.gradients[name], theirs.gradients[name], name)


def test_nt_xent_is_info_nce_without_the_row_itself():
    """Row by row, by key_ids: the row shares its target's id, and so leaves the denominator."""
    n = 8
    view1, view2, queue = normal(n, 5, seed=1), normal(n, 5, seed=2), normal(3, 5, seed=3)
    z = torch.cat([view1, view2])
    rows = fastloss.info_nce(
        z,
        torch.cat([z, queue]),
        torch.arange(2 * n).roll(n),
        key_ids=torch.cat([torch.arange(n).repeat(2), torch.arange(n, n + 3)]),
        temperature=0.3,
        reduction="none",
    )
    ours = fastloss.nt_xent(view1, view2, queue=queue, temperature=0.3, reduction="none")
    assert_close(ours, rows)


def test_sup_con_of_one_positive_reference_is_info_nce():
    z, references = normal(9, 4, seed=1), normal(14, 4, seed=2)
    target = torch.randint(14, (9,), generator=generator(4))
    ours = fastloss.sup_con(
        z,
        target,
        ref_embeddings=references,
        ref_labels=torch.arange(14),
        temperature=0.2,
        reduction="none",
    )
    assert_close(ours, fastloss.info_nce(z, references, target, temperature=0.2, reduction="none"))


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


def test_siglip_is_binary_cross_entropy_of_the_scores():
    image, text = normal(23, 7, seed=1), normal(31, 7, seed=2)
    target = torch.randint(-1, 31, (23,), generator=generator(3))

    def definition(image, text, scale, bias):
        labels = (torch.arange(31) == target[:, None]).double()
        logits = scale * image @ text.T + bias
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / 23

    def siglip(image, text, scale, bias):
        numbers = {"logit_scale": scale, "logit_bias": bias}
        return fastloss.siglip_loss(image, text, target, similarity="dot", **numbers)

    arguments = {"image": image, "text": text}
    arguments |= {"scale": torch.tensor(0.7).double(), "bias": torch.tensor(-2.0).double()}
    ours, theirs = (run(f, arguments, tuple(arguments)) for f in (siglip, definition))
    assert_close(ours.loss, theirs.loss)
    for name in arguments:
        assert_close(ours.gradients[name], theirs.gradients[name], name)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "sqeuclidean"])
def test_siglip_of_a_batch_is_symmetric(similarity):
    image, text = normal(23, 7, seed=1), normal(23, 7, seed=2)
    there = fastloss.siglip_loss(image, text, similarity=similarity)
    assert_close(there, fastloss.siglip_loss(text, image, similarity=similarity))


def test_in_batch_losses_are_those_of_the_pairs():
    query, key, weights = normal(13, 5, seed=1), normal(19, 5, seed=2), normal(13, seed=3).abs()
    others = ~torch.eye(13, 19, dtype=torch.bool)

    def in_pairs(function, **options):
        def loss(query, key):
            scores = query @ key.T / 0.6
            return function(
                *(scores.diagonal(), scores), negative_where=others, weights=weights, **options
            )

        return loss

    def in_batch(function, **options):
        return lambda query, key: function(query, key, temperature=0.6, weights=weights, **options)

    for ours, theirs in (
        (in_batch(fastloss.in_batch_bpr_loss), in_pairs(fastloss.bpr_loss)),
        (
            in_batch(fastloss.in_batch_hinge_loss, margin=0.8),
            in_pairs(fastloss.pairwise_margin_loss, margin=0.8),
        ),
    ):
        mine, expected = (
            run(f, {"query": query, "key": key}, ("query", "key")) for f in (ours, theirs)
        )
        assert_close(mine.loss, expected.loss)
        for name in ("query", "key"):
            assert_close(mine.gradients[name], expected.gradients[name], name)


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
