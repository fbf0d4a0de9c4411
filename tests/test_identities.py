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


# ---------------------------------------------------------------------------------------- ranking


def one_hot(target, classes):
    return F.one_hot(target, classes).double()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_listnet_of_one_positive_is_cross_entropy(reduction):
    scores, target = normal(8, 13), torch.randint(13, (8,), generator=generator(1))

    def listnet(scores):
        labels = one_hot(target, 13)
        return fastloss.listnet_loss(scores, labels, target="raw", reduction=reduction)

    def cross_entropy(scores):
        return F.cross_entropy(scores, target, reduction=reduction)

    ours, theirs = (run(f, {"scores": scores}, ("scores",)) for f in (listnet, cross_entropy))
    assert_close(ours.loss, theirs.loss)
    assert_close(ours.gradients["scores"], theirs.gradients["scores"])


def test_listnet_is_cross_entropy_with_probabilities():
    scores, labels = normal(8, 13), normal(8, 13, seed=1).abs()
    soft = F.cross_entropy(scores, (labels / 0.7).softmax(1))
    assert_close(fastloss.listnet_loss(scores, labels, label_temperature=0.7), soft)
    shares = F.cross_entropy(scores, labels / labels.sum(1, keepdim=True))
    assert_close(fastloss.listnet_loss(scores, labels, target="normalize"), shares)


def test_listnet_and_kl_divergence_have_the_same_gradient():
    """They differ by the entropy of the target."""
    scores, labels = normal(8, 13), normal(8, 13, seed=1).abs()

    def kl(scores):
        return F.kl_div(scores.log_softmax(1), labels.softmax(1), reduction="batchmean")

    def listnet(scores):
        return fastloss.listnet_loss(scores, labels)

    ours, theirs = (run(f, {"scores": scores}, ("scores",)) for f in (listnet, kl))
    assert_close(ours.gradients["scores"], theirs.gradients["scores"])
    p = labels.softmax(1)
    assert_close(ours.loss - theirs.loss, -(p * p.log()).sum(1).mean())


@pytest.mark.parametrize("method", ["pairs", "sorted"])
def test_ranknet_of_one_positive_is_softplus_of_its_gaps(method):
    """Bayesian personalised ranking: one positive of a user against all negatives."""
    scores = normal(6, 40)
    labels = one_hot(torch.zeros(6, dtype=torch.int64), 40)
    expected = F.softplus(scores[:, 1:] - scores[:, :1]).mean()
    assert_close(fastloss.ranknet_loss(scores, labels, method=method), expected)


@pytest.mark.parametrize("method", ["pairs", "sorted"])
def test_ranknet_of_two_items_is_binary_cross_entropy_of_the_gap(method):
    """With ties at one half: targets 1, 0 and ½."""
    scores = normal(30, 2)
    labels = torch.randint(3, (30, 2), generator=generator(1))
    target = ((labels[:, 0] - labels[:, 1]).sign() + 1) / 2
    gap = scores[:, 0] - scores[:, 1]
    expected = F.binary_cross_entropy_with_logits(1.5 * gap, target.double())
    options = {"sigma": 1.5, "ties": "half", "method": method}
    assert_close(fastloss.ranknet_loss(scores, labels, **options), expected)


@pytest.mark.parametrize("method", ["pairs", "sorted"])
def test_hinge_is_margin_ranking_loss_of_all_pairs(method):
    scores, labels = normal(50), torch.randint(4, (50,), generator=generator(1))
    i, j = (labels[:, None] > labels).nonzero(as_tuple=True)
    expected = F.margin_ranking_loss(scores[i], scores[j], torch.ones(len(i)), margin=0.3)
    got = fastloss.pairwise_hinge_loss(scores, labels, margin=0.3, method=method)
    assert_close(got, expected)


@pytest.mark.parametrize("method", ["pairs", "sorted"])
def test_squared_hinge_of_a_wide_margin_is_a_difference_of_moments(method):
    """All pairs active: the mean of (m − s_i + s_j)² from means and variances alone."""
    scores = normal(200).clamp(-3, 3)
    high, low = scores[:80], scores[80:]
    labels = (torch.arange(200) < 80).long()
    mean = 10.0 - high.mean() + low.mean()
    expected = mean**2 + high.var(correction=0) + low.var(correction=0)
    got = fastloss.pairwise_hinge_loss(scores, labels, margin=10.0, power=2, method=method)
    assert_close(got, expected)


@pytest.mark.parametrize("method", ["pairs", "sorted"])
def test_label_difference_of_two_labels_changes_nothing(method):
    scores, labels = normal(3, 60), torch.randint(2, (3, 60), generator=generator(1))
    for name in ("ranknet_loss", "pairwise_hinge_loss"):
        function = getattr(fastloss, name)
        expected = function(scores, labels, method=method)
        assert_close(function(scores, labels, method=method, pair_weight="label_diff"), expected)


@pytest.mark.parametrize("method", ["pairs", "sorted"])
def test_steep_ranknet_is_the_hinge_of_margin_0(method):
    """As σ grows, loss / σ tends to the hinge of margin 0."""
    scores, labels = normal(3, 60), torch.randint(3, (3, 60), generator=generator(1))
    steep = fastloss.ranknet_loss(scores, labels, sigma=1e6, method=method) / 1e6
    hinge = fastloss.pairwise_hinge_loss(scores, labels, margin=0.0, method=method)
    assert steep.item() == pytest.approx(hinge.item(), rel=1e-6)


# -------------------------------------------------------------------------------- losses of scores


def assert_same(ours, theirs, arguments, wrt=None):
    """Value and gradients of two functions of the same arguments."""
    wrt = tuple(arguments) if wrt is None else wrt
    a, b = (run(function, arguments, wrt) for function in (ours, theirs))
    assert_close(a.loss, b.loss)
    for name in wrt:
        assert_close(a.gradients[name], b.gradients[name], name)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl_is_not_negative_and_0_for_equals(direction):
    def kl(logits, target):
        return fastloss.kl_div_with_logits(logits, target, direction=direction, reduction="none")

    logits = normal(200, 11)
    target = normal(200, 11, seed=1).softmax(1)
    assert (kl(logits, target) > 0.01).all()
    assert kl(target.log() + 3.0, target).abs().max() < 1e-14
    # Near equality it is quadratic in what is between them.
    step = 1e-4 * normal(200, 11, seed=2)
    near = kl(target.log() + step, target)
    centred = step - (target * step).sum(1, keepdim=True)
    torch.testing.assert_close(
        near, 0.5 * (target * centred.square()).sum(1), rtol=2e-3, atol=1e-15
    )


def test_kl_and_cross_entropy_have_the_same_gradient():
    """They differ by the entropy of the target."""
    logits, target = normal(23, 7), normal(23, 7, seed=1).softmax(1)
    kl, ce = (
        run(function, {"input": logits, "target": target}, ("input",))
        for function in (fastloss.kl_div_with_logits, fastloss.cross_entropy)
    )
    assert_close(kl.gradients["input"], ce.gradients["input"])
    entropy = -(target * target.log()).sum(1).mean()
    assert_close(kl.loss + entropy, ce.loss)


def test_binary_cross_entropy_is_cross_entropy_of_a_logit_and_0():
    labels = (normal(40, seed=1) > 0).long()

    def two_classes(input):
        return fastloss.cross_entropy(torch.stack([torch.zeros_like(input), input], 1), labels)

    def binary(input):
        return fastloss.binary_cross_entropy_with_logits(input, labels)

    def of_probabilities(input):
        return fastloss.binary_cross_entropy(input.sigmoid(), labels)

    assert_same(binary, two_classes, {"input": normal(40)})
    assert_same(of_probabilities, two_classes, {"input": normal(40)})


def test_one_sampled_negative_is_bpr():
    arguments = {"positive": normal(40), "negative": normal(40, 1, seed=1)}
    assert_same(
        lambda positive, negative: fastloss.sampled_softmax_loss(positive, negative),
        lambda positive, negative: fastloss.bpr_loss(positive, negative),
        arguments,
    )


def test_bpr_is_binary_cross_entropy_of_the_gaps():
    arguments = {"positive": normal(9, 3), "negative": normal(9, 5, seed=1)}

    def of_gaps(positive, negative):
        gaps = positive[:, :, None] - negative[:, None, :]
        return fastloss.binary_cross_entropy_with_logits(gaps, torch.ones_like(gaps))

    assert_same(fastloss.bpr_loss, of_gaps, arguments)


def test_margin_loss_is_the_hinge_of_the_gaps():
    arguments = {"positive": normal(9, 3), "negative": normal(9, 5, seed=1)}

    def of_gaps(positive, negative):
        gaps = positive[:, :, None] - negative[:, None, :]
        return fastloss.hinge_loss(gaps, torch.ones_like(gaps))

    assert_same(fastloss.pairwise_margin_loss, of_gaps, arguments)


def test_sampled_softmax_is_cross_entropy_with_target_0():
    arguments = {"positive": normal(9), "negative": normal(9, 5, seed=1)}
    log_q = normal(9, 6, seed=2)

    def of_logits(positive, negative):
        scores = torch.cat([positive[:, None], negative], 1) / 0.3 - log_q
        return fastloss.cross_entropy(scores, torch.zeros(9, dtype=torch.int64))

    def sampled(positive, negative):
        return fastloss.sampled_softmax_loss(
            positive, negative, temperature=0.3, positive_log_q=log_q[:, 0],
            negative_log_q=log_q[:, 1:],
        )  # fmt: skip

    assert_same(sampled, of_logits, arguments)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_linear_cross_entropy_is_cross_entropy_of_the_linear_layer(smoothing):
    target, weight = torch.arange(12) % 9, normal(9, seed=3).abs()
    target[::5] = -100
    arguments = {"input": normal(12, 4), "layer": normal(9, 4, seed=1), "bias": normal(9, seed=2)}

    def of_logits(input, layer, bias):
        return fastloss.cross_entropy(
            F.linear(input, layer, bias), target, weight=weight, label_smoothing=smoothing
        )

    def linear(input, layer, bias):
        return fastloss.linear_cross_entropy(
            input, layer, target, linear_bias=bias, weight=weight, label_smoothing=smoothing
        )

    assert_same(linear, of_logits, arguments)


def test_info_nce_is_sampled_softmax_of_the_scores():
    query, key = normal(6, 4), normal(6, 4, seed=1)
    scores = query @ key.T
    others = scores[~torch.eye(6, dtype=torch.bool)].view(6, 5)
    assert_close(
        fastloss.info_nce(query, key, temperature=0.3, similarity="dot"),
        fastloss.sampled_softmax_loss(scores.diagonal(), others, temperature=0.3),
    )
