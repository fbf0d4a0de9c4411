"""Losses of scores: values spelled out as arithmetic, and torch's own where it has the function."""

from math import exp, log, log1p

import pytest
import torch
import torch.nn.functional as F
from torch import tensor

import fastloss
from accuracy import assert_close
from case import generator, run
from cases import CASES

NAN = float("nan")


def sigmoid(x):
    return 1 / (1 + exp(-x))


def softplus(x):
    return log1p(exp(x))


def exactly(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_cross_entropy_of_two_rows():
    logits = exactly([2.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    target, weight = tensor([0, 1]), exactly(1.0, 3.0, 5.0)
    first = log(exp(2) + 2) - 2
    second = log(exp(1) + 2) - 1
    assert fastloss.cross_entropy(logits, target).item() == pytest.approx((first + second) / 2)
    weighted = fastloss.cross_entropy(logits, target, weight=weight)
    assert weighted.item() == pytest.approx((1 * first + 3 * second) / (1 + 3))
    # Each class's gap to the log-sum-exp, smoothed by 0.3 over three classes.
    others = (log(exp(2) + 2) - 0) * 2 + first
    smoothed = fastloss.cross_entropy(logits[:1], target[:1], label_smoothing=0.3)
    assert smoothed.item() == pytest.approx(0.7 * first + 0.1 * others)
    shares = exactly([0.5, 0.25, 0.25], [0.0, 0.0, 1.0])
    soft = fastloss.cross_entropy(logits, shares, reduction="sum")
    expected = (0.5 * first + 0.5 * log(exp(2) + 2)) + log(exp(1) + 2)
    assert soft.item() == pytest.approx(expected)


def test_cross_entropy_of_places():
    """(1, 2, 2): one batch, two classes, two places."""
    logits = exactly([[1.0, 0.0], [0.0, 3.0]])
    loss = fastloss.cross_entropy(logits, tensor([[0, 0]]), reduction="none")
    assert loss.shape == (1, 2)
    assert loss[0, 0].item() == pytest.approx(softplus(-1.0))
    assert loss[0, 1].item() == pytest.approx(softplus(3.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_small_losses_keep_their_digits(dtype):
    relative = 1e-6 if dtype == torch.float32 else 1e-13
    logits = tensor([[17.0, 0.0]], dtype=dtype, requires_grad=True)
    loss = fastloss.cross_entropy(logits, tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(log1p(exp(-17)), rel=relative)
    assert logits.grad[0, 0].item() == pytest.approx(-sigmoid(-17.0), rel=relative)
    z = tensor([-17.0], dtype=dtype, requires_grad=True)
    loss = fastloss.binary_cross_entropy_with_logits(z, torch.zeros(1))
    loss.backward()
    assert loss.item() == pytest.approx(log1p(exp(-17)), rel=relative)
    assert z.grad.item() == pytest.approx(sigmoid(-17.0), rel=relative)
    p = tensor([1e-9], dtype=dtype)
    assert fastloss.binary_cross_entropy(p, torch.zeros(1)).item() == pytest.approx(1e-9, rel=1e-6)


def test_kl_of_coins():
    """A coin of ¾ against a fair one: ¾ log (¾ / ½) + ¼ log (¼ / ½), and the other way round."""
    logits, target = exactly([0.0, 0.0]), exactly([0.75, 0.25])
    forward = fastloss.kl_div_with_logits(logits, target)
    assert forward.item() == pytest.approx(0.75 * log(1.5) + 0.25 * log(0.5))
    reverse = fastloss.kl_div_with_logits(logits, target, direction="reverse")
    assert reverse.item() == pytest.approx(0.5 * log(2 / 3) + 0.5 * log(2))
    as_log = fastloss.kl_div_with_logits(logits, target.log(), log_target=True)
    assert as_log.item() == pytest.approx(forward.item())
    # (2, 2): "mean" is "batchmean", it divides by the rows.
    logits, target = logits.expand(2, 2), exactly([0.75, 0.25], [1.0, 0.0])
    rows = [0.75 * log(1.5) + 0.25 * log(0.5), log(2)]
    for reduction, expected in (("mean", sum(rows) / 2), ("batchmean", sum(rows) / 2),
                                ("sum", sum(rows))):  # fmt: skip
        loss = fastloss.kl_div_with_logits(logits, target, reduction=reduction)
        assert loss.item() == pytest.approx(expected)


def test_binary_cross_entropy_of_four():
    z, y = exactly(0.0, 2.0, -1.0, 3.0), exactly(1.0, 0.0, 0.25, 1.0)
    parts = [log(2), softplus(2.0), 0.25 * softplus(1.0) + 0.75 * softplus(-1.0), softplus(-3.0)]
    loss = fastloss.binary_cross_entropy_with_logits
    assert loss(z, y).item() == pytest.approx(sum(parts) / 4)
    weight = exactly(1.0, 2.0, 0.0, 4.0)
    # The mean divides by the number of elements, as torch's does.
    expected = (parts[0] + 2 * parts[1] + 4 * parts[3]) / 4
    assert loss(z, y, weight=weight).item() == pytest.approx(expected)
    positive = loss(z, y, pos_weight=tensor(3.0), reduction="sum")
    third = 3 * 0.25 * softplus(1.0) + 0.75 * softplus(-1.0)
    assert positive.item() == pytest.approx(3 * parts[0] + parts[1] + third + 3 * parts[3])
    p = exactly(0.5, 0.9)
    of_probabilities = fastloss.binary_cross_entropy(p, exactly(1.0, 0.0))
    assert of_probabilities.item() == pytest.approx((-log(0.5) - log(0.1)) / 2)


def test_bpr_of_one_row():
    positive = exactly([2.0, 1.0]).requires_grad_()
    negative = exactly([0.0, 3.0, NAN]).requires_grad_()
    where = tensor([[True, True, False]])
    gaps = [[0 - 2, 3 - 2], [0 - 1, 3 - 1]]
    total = sum(softplus(gap) for row in gaps for gap in row)
    mean = fastloss.bpr_loss(positive, negative, negative_where=where)
    assert mean.item() == pytest.approx(total / 4)
    rows = fastloss.bpr_loss(positive, negative, negative_where=where, reduction="none")
    assert rows.tolist() == pytest.approx([total])
    rows.sum().backward()
    assert positive.grad[0].tolist() == pytest.approx([-sum(map(sigmoid, row)) for row in gaps])
    expected = [sum(map(sigmoid, column)) for column in zip(*gaps, strict=True)]
    assert negative.grad[0].tolist() == pytest.approx([*expected, 0.0])


def test_pair_means_are_weighted_by_their_rows():
    """Row 0 has 2 pairs and weight 3, row 1 has 1 pair and weight 5: Σ w P / Σ w C."""
    positive, negative = exactly(1.0, 2.0), exactly([0.5, 1.5], [1.75, NAN])
    where = tensor([[True, True], [True, False]])
    weights = exactly(3.0, 5.0)
    options = {"negative_where": where, "weights": weights}
    loss = fastloss.pairwise_margin_loss(positive, negative, margin=1.0, **options)
    first, second = (1 - 1 + 0.5) + (1 - 1 + 1.5), 1 - 2 + 1.75
    assert loss.item() == pytest.approx((3 * first + 5 * second) / (3 * 2 + 5 * 1))
    rows = fastloss.pairwise_margin_loss(positive, negative, reduction="none", **options)
    assert rows.tolist() == pytest.approx([3 * first, 5 * second])


@pytest.mark.parametrize(("tau", "printed"), [(1.0, 0.341), (0.2, 1.36e-4)])
def test_sampled_softmax_of_three_negatives(tau, printed):
    positive, negative = exactly(1.0), exactly([-1.0, -1.0, -1.0])
    loss = fastloss.sampled_softmax_loss(positive, negative, temperature=tau)
    assert loss.item() == pytest.approx(log(1 + 3 * exp(-2 / tau)))
    assert loss.item() == pytest.approx(printed, rel=2e-3)


def test_each_log_q_corrects_its_own_side():
    """z = s/τ − log q: the correction is not divided by τ."""
    positive, negative = exactly(1.0), exactly([-1.0, 0.5])
    own, others = exactly(log(0.1)), exactly([log(0.2), log(0.7)])
    z, z_0, z_1 = 1 / 0.5, -1 / 0.5, 0.5 / 0.5

    def softmax(z, *others):
        return log(exp(z) + sum(map(exp, others))) - z

    def loss(**log_q):
        return fastloss.sampled_softmax_loss(positive, negative, temperature=0.5, **log_q).item()

    assert loss() == pytest.approx(softmax(z, z_0, z_1))
    assert loss(positive_log_q=own) == pytest.approx(softmax(z - log(0.1), z_0, z_1))
    corrected = softmax(z, z_0 - log(0.2), z_1 - log(0.7))
    assert loss(negative_log_q=others) == pytest.approx(corrected)


def test_a_row_without_negatives_counts():
    positive, negative = exactly(1.0, 2.0), exactly([0.0], [NAN])
    where = tensor([[True], [False]])
    loss = fastloss.sampled_softmax_loss(positive, negative, negative_where=where)
    assert loss.item() == pytest.approx((softplus(-1.0) + 0) / 2)


def test_hinge_of_three():
    scores, labels = exactly(0.5, -2.0, 0.5), tensor([1, -1, -1])
    assert fastloss.hinge_loss(scores, labels).item() == pytest.approx((0.5 + 0 + 1.5) / 3)
    weights = exactly(1.0, 2.0, 5.0)
    weighted = fastloss.hinge_loss(scores, labels, weights=weights)
    assert weighted.item() == pytest.approx((0.5 + 0 + 5 * 1.5) / 8)


@pytest.mark.parametrize("labels", [[0, 1, 1], [False, True, True], [0.0, 1.0, 1.0]])
def test_the_error_says_how_to_map_labels(labels):
    with pytest.raises(ValueError, match=r"labels must be -1 or 1 \(labels 0 and 1 map to 2 \*"):
        fastloss.hinge_loss(torch.zeros(3), tensor(labels))


# ------------------------------------------------------------------------------------ torch's own

TORCH = {
    "cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
}
FINITE = [
    (case, variant)
    for case in CASES
    if case.name in TORCH
    for variant in case.variants
    # torch: inf where a class is removed and smoothed or NaN where a weight is 0.
    if variant.kind not in ("removing", "smoothing removing", "ignoring nothing", "all")
    and not any("poisoned" in name or "removing" in name for name in variant.inputs.values())
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("case", "variant"), FINITE, ids=str)
def test_value_and_gradient_are_those_of_torch(case, variant, reduction):
    arguments = case.arguments(variant, case.sizes[0], reduction=reduction)
    if case.name != "cross_entropy":
        arguments["target"] = arguments["target"].to(arguments["input"].dtype)
    ours, theirs = (run(f, arguments, ("input",)) for f in (case.function, TORCH[case.name]))
    assert_close(ours.loss, theirs.loss)
    assert_close(ours.gradients["input"], theirs.gradients["input"])


@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0])
def test_no_digits_are_lost_at_an_offset(offset):
    """In float32, which holds 1000 + z to 6e-5: what the rounded logits say, to 1e-6."""
    logits = (torch.randn(50, 30, generator=generator(1)) + offset).requires_grad_()
    target = torch.randint(30, (50,), generator=generator(2))
    soft = torch.randn(50, 30, generator=generator(3)).softmax(1)
    losses = [
        lambda f, z: f.cross_entropy(z, target, label_smoothing=0.1),
        lambda f, z: f.cross_entropy(z, soft.to(z.dtype)),
        lambda f, z: f.kl_div_with_logits(z, soft.to(z.dtype)),
        lambda f, z: f.kl_div_with_logits(z, soft.to(z.dtype), direction="reverse"),
        lambda f, z: f.sampled_softmax_loss(z[:, 0], z[:, 1:]),
        lambda f, z: f.bpr_loss(z[:, :5], z[:, 5:]),
    ]
    for loss in losses:
        ours = loss(fastloss, logits)
        exact = loss(fastloss.reference, exact_logits := logits.detach().double().requires_grad_())
        assert ours.item() == pytest.approx(exact.item(), rel=1e-6)
        (gradient,) = torch.autograd.grad(ours, logits)
        (expected,) = torch.autograd.grad(exact, exact_logits)
        assert (gradient - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_nothing_of_the_size_of_the_logits_is_saved():
    """Beside the input and the target, six numbers a row."""
    logits = torch.randn(64, 1000, requires_grad=True)
    saved = []

    def pack(tensor):
        if tensor.data_ptr() != logits.data_ptr():
            saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fastloss.cross_entropy(logits, torch.zeros(64, dtype=torch.int64))
    assert sum(saved) <= 64 * 6 + 64


@pytest.mark.parametrize("name", ["cross_entropy", "kl_div_with_logits"])
def test_probabilities_may_be_rounded_above_1(name):
    """A sum of rounded parts may be a little more than 1; a percentage is more by far."""
    function, logits = getattr(fastloss, name), torch.zeros(1, 2)
    assert function(logits, tensor([[1.0 + 2.0**-23, 0.0]])).item() == pytest.approx(log(2))
    with pytest.raises(ValueError, match=rf"{name}: target must be probabilities in \[0, 1\]"):
        function(logits, tensor([[60.0, 40.0]]))
