"""Losses of scores that equal other losses: of lists, of sampled rows, of single scores."""

import pytest
import torch
import torch.nn.functional as F

import fastloss
from accuracy import assert_close
from case import generator, normal, run

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
