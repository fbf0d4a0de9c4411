"""Expected values spelled out as arithmetic: independent of the reference."""

from math import exp, log, sqrt

import pytest
import torch
from torch import tensor

import fastloss


def logits(*rows, dtype=torch.float64):
    """A query and keys whose dot products are the given row of scores."""
    return tensor([[1.0]], dtype=dtype), tensor([[score] for score in rows], dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("temperature", "expected", "printed"),
    [
        (1.0, log(1 + 3 * exp(-2)), 0.341),
        (0.2, log(1 + 3 * exp(-2 / 0.2)), 1.36e-4),
        (0.1, log(1 + 3 * exp(-2 / 0.1)), 6.18e-9),
    ],
)
def test_info_nce_of_one_positive_and_three_negatives(temperature, expected, printed, dtype):
    """Small losses keep their digits: lse − score would leave 1.36e-4 only three in float32."""
    query, key = logits(1.0, -1.0, -1.0, -1.0, dtype=dtype)
    loss = fastloss.info_nce(query, key, temperature=temperature, similarity="dot")
    relative = 1e-5 if dtype == torch.float32 else 1e-11
    assert loss.item() == pytest.approx(expected, rel=relative)
    assert loss.item() == pytest.approx(printed, rel=2e-3)


def test_small_losses_have_accurate_gradients():
    """The gradient is p − 1 = −3e-10/(1 + 3e-10) here; 1 − p in float32 would be 0."""
    query, key = logits(1.0, -10.0, -10.0, -10.0, dtype=torch.float32)
    query.requires_grad_()
    fastloss.info_nce(query, key, temperature=0.5, similarity="dot").backward()
    others = 3 * exp(-22)
    expected = others / (1 + others) * (-10 - 1) / 0.5
    assert query.grad.item() == pytest.approx(expected, rel=1e-5)


def test_info_nce_with_target():
    query, key = logits(0.5, 2.0, -1.0, 0.0)
    loss = fastloss.info_nce(query, key, tensor([2]), temperature=1.0, similarity="dot")
    expected = log(exp(0.5) + exp(2.0) + exp(-1.0) + exp(0.0)) - (-1.0)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_info_nce_similarities():
    query = tensor([[3.0, 4.0]], dtype=torch.float64)
    key = tensor([[6.0, 8.0], [4.0, -3.0], [0.0, 0.0], [3.0, 5.0]], dtype=torch.float64)
    rows = {
        "dot": [50, 0, 0, 29],
        "cosine": [1, 0, 0, 29 / (5 * sqrt(34))],
        "euclidean": [-5, -sqrt(50), -5, -1],
        "sqeuclidean": [-25, -50, -25, -1],
    }
    for similarity, row in rows.items():
        for target in range(4):
            loss = fastloss.info_nce(
                query, key, tensor([target]), temperature=10.0, similarity=similarity
            )
            expected = log(sum(exp(s / 10) for s in row)) - row[target] / 10
            assert loss.item() == pytest.approx(expected, rel=1e-12), similarity


def test_info_nce_bias_comes_after_the_temperature_and_reaches_the_positive():
    query, key = logits(1.0, -1.0, 2.0, 0.0)
    bias = tensor([-log(0.5), -log(0.1), -log(0.3), -log(0.1)], dtype=torch.float64)
    loss = fastloss.info_nce(query, key, temperature=0.5, similarity="dot", key_bias=bias)
    terms = [exp(2) / 0.5, exp(-2) / 0.1, exp(4) / 0.3, exp(0) / 0.1]
    assert loss.item() == pytest.approx(-log(terms[0] / sum(terms)), rel=1e-12)


def test_info_nce_ids_remove_duplicates_of_the_target_only():
    query, key = logits(1.0, -1.0, 2.0, 0.0)
    ids = tensor([7, 7, 9, 9])
    for target, row in [(0, [1, 2, 0]), (1, [-1, 2, 0]), (2, [2, 1, -1]), (3, [0, 1, -1])]:
        loss = fastloss.info_nce(
            query, key, tensor([target]), temperature=1.0, similarity="dot", key_ids=ids
        )
        assert loss.item() == pytest.approx(log(sum(map(exp, row))) - row[0], rel=1e-12)


def test_info_nce_margin_is_in_the_numerator_and_in_the_denominator():
    query, key = logits(1.0, -1.0, 2.0, 0.0)
    loss = fastloss.info_nce(query, key, temperature=0.5, similarity="dot", margin=0.3)
    positive = (1.0 - 0.3) / 0.5
    expected = log(exp(positive) + exp(-2) + exp(4) + exp(0)) - positive
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_info_nce_decoupled():
    query, key = logits(1.0, -1.0, 2.0, 0.0)
    loss = fastloss.info_nce(
        query, key, temperature=0.5, similarity="dot", margin=0.3, decoupled=True
    )
    expected = log(exp(-2) + exp(4) + exp(0)) - (1.0 - 0.3) / 0.5
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_info_nce_own_negatives_have_neither_bias_nor_id():
    query, key = logits(1.0, -1.0)
    loss = fastloss.info_nce(
        query,
        key,
        negatives=tensor([[[2.0], [0.5]]], dtype=torch.float64),
        temperature=0.5,
        similarity="dot",
        key_bias=tensor([0.1, 0.2], dtype=torch.float64),
        key_ids=tensor([3, 3]),
    )
    positive = 1 / 0.5 + 0.1
    expected = log(exp(positive) + exp(2 / 0.5) + exp(0.5 / 0.5)) - positive
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_info_nce_smoothing_is_uniform_over_what_is_allowed():
    query, key = logits(1.0, -1.0, 2.0, 0.0)
    loss = fastloss.info_nce(
        query,
        key,
        negatives=tensor([[[0.25]]], dtype=torch.float64),
        temperature=1.0,
        similarity="dot",
        key_bias=tensor([0.0, 0.0, -torch.inf, 0.5], dtype=torch.float64),
        key_ids=tensor([5, 5, 6, 7]),
        label_smoothing=0.3,
    )
    allowed = [1.0, 0.0 + 0.5, 0.25]  # key 1 shares the target's id, key 2 is removed
    lse = log(sum(map(exp, allowed)))
    expected = 0.7 * (lse - 1.0) + 0.3 * (lse - sum(allowed) / 3)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_info_nce_reductions_and_weights():
    query = tensor([[1.0], [2.0], [-1.0]], dtype=torch.float64)
    key = tensor([[1.0], [0.0], [-1.0], [0.5]], dtype=torch.float64)
    weights = tensor([2.0, 0.0, 0.5], dtype=torch.float64)

    def row(q, target):
        scores = [q * k for k in (1.0, 0.0, -1.0, 0.5)]
        return log(sum(map(exp, scores))) - scores[target]

    rows = [2.0 * row(1.0, 0), 0.0, 0.5 * row(-1.0, 2)]

    def loss(reduction):
        return fastloss.info_nce(
            query, key, temperature=1.0, similarity="dot", weights=weights, reduction=reduction
        )

    assert loss("none").tolist() == pytest.approx(rows, rel=1e-12)
    assert loss("sum").item() == pytest.approx(sum(rows), rel=1e-12)
    assert loss("mean").item() == pytest.approx(sum(rows) / 2.5, rel=1e-12)


def test_info_nce_rows_without_a_denominator_leave_the_mean():
    """Decoupled: row 0 keeps no negative; row 1 does, and its positive is the removed key."""
    query = tensor([[1.0], [2.0]], dtype=torch.float64, requires_grad=True)
    key = tensor([[1.0], [0.5]], dtype=torch.float64)
    options = {
        "temperature": 1.0,
        "similarity": "dot",
        "decoupled": True,
        "key_bias": tensor([0.0, -torch.inf], dtype=torch.float64),
        "weights": tensor([3.0, 5.0], dtype=torch.float64),
    }
    loss = fastloss.info_nce(query, key, reduction="none", **options)
    assert loss.tolist() == [0.0, torch.inf]
    fastloss.info_nce(query, key, **options).backward()
    # Only the weight of row 1 divides: 5 · (1 − 0.5) / 5.
    assert query.grad.flatten().tolist() == [0.0, pytest.approx(1.0 - 0.5, rel=1e-12)]


def test_info_nce_gradient_by_hand():
    """d loss / d score_j = p_j − [j is the target], divided by the temperature, times the key."""
    query, key = logits(1.0, -1.0, 2.0, 0.0)
    query.requires_grad_()
    key.requires_grad_()
    loss = fastloss.info_nce(query, key, temperature=0.5, similarity="dot")
    loss.backward(tensor(-3.0, dtype=torch.float64))
    terms = [exp(2), exp(-2), exp(4), exp(0)]
    dscore = [t / sum(terms) - (j == 0) for j, t in enumerate(terms)]
    dquery = sum(g * k for g, k in zip(dscore, [1.0, -1.0, 2.0, 0.0], strict=True)) / 0.5
    assert query.grad.item() == pytest.approx(-3 * dquery, rel=1e-12)
    assert key.grad.flatten().tolist() == pytest.approx([-3 * g / 0.5 for g in dscore], rel=1e-12)


# -------------------------------------------------------------------------------- nt_xent, sup_con


def four_points(dtype=torch.float64):
    """Two items of two views; dot products 2·1, 2·3, … are distinct."""
    return tensor([[2.0], [-1.0]], dtype=dtype), tensor([[3.0], [0.5]], dtype=dtype)


def test_nt_xent_of_two_items():
    view1, view2 = four_points()  # rows 2, −1, 3, ½; targets 3, ½, 2, −1
    expected = [
        log(exp(-2) + exp(6) + exp(1)) - 6,
        log(exp(-2) + exp(-3) + exp(-0.5)) - -0.5,
        log(exp(6) + exp(-3) + exp(1.5)) - 6,
        log(exp(1) + exp(-0.5) + exp(1.5)) - -0.5,
    ]
    options = {"similarity": "dot", "temperature": 1.0}
    rows = fastloss.nt_xent(view1, view2, reduction="none", **options)
    assert rows.tolist() == pytest.approx(expected, rel=1e-12)
    loss = fastloss.nt_xent(view1, view2, weights=tensor([1.0, 3.0]), **options)
    weighted = expected[0] + 3 * expected[1] + expected[2] + 3 * expected[3]
    assert loss.item() == pytest.approx(weighted / 8, rel=1e-12)


def test_nt_xent_with_a_queue_and_decoupled():
    view1, view2 = four_points()
    queue = tensor([[1.0], [-0.25]], dtype=torch.float64)
    options = {"similarity": "dot", "temperature": 0.5, "reduction": "none"}
    rows = fastloss.nt_xent(view1, view2, queue=queue, decoupled=True, **options)
    assert rows[0].item() == pytest.approx(log(exp(-4) + exp(2) + exp(4) + exp(-1)) - 12)
    assert rows[3].item() == pytest.approx(log(exp(2) + exp(3) + exp(1) + exp(-0.25)) - -1)


@pytest.mark.parametrize("loss", ["nt_xent", "sup_con"])
def test_small_losses_of_one_set_keep_their_digits(loss):
    """Two items whose views agree: L = log(1 + 2 e^{−2/τ}), 8.2e-9 at τ = 0.1."""
    z = tensor([[1.0], [-1.0], [1.0], [-1.0]])
    if loss == "nt_xent":
        result = fastloss.nt_xent(z[:2], z[2:], temperature=0.1)
    else:
        result = fastloss.sup_con(z, tensor([0, 1, 0, 1]), temperature=0.1)
    assert result.item() == pytest.approx(2 * exp(-20), rel=1e-5)


def test_sup_con_of_four_rows():
    z = tensor([[2.0], [-1.0], [3.0], [0.5]], dtype=torch.float64)
    labels = tensor([7, 7, 7, -2])
    expected = [
        log(exp(-2) + exp(6) + exp(1)) - (-2 + 6) / 2,
        log(exp(-2) + exp(-3) + exp(-0.5)) - (-2 - 3) / 2,
        log(exp(6) + exp(-3) + exp(1.5)) - (6 - 3) / 2,
        0,  # alone with its label
    ]
    options = {"similarity": "dot", "temperature": 1.0}
    rows = fastloss.sup_con(z, labels, reduction="none", **options)
    assert rows.tolist() == pytest.approx(expected, rel=1e-12)
    mean = fastloss.sup_con(z, labels, **options)
    assert mean.item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_sup_con_with_references():
    """Every reference is a candidate, one that equals the row included; the rows are none."""
    z = tensor([[2.0], [-1.0]], dtype=torch.float64)
    references = tensor([[2.0], [1.0], [-3.0]], dtype=torch.float64)
    rows = fastloss.sup_con(
        z,
        tensor([4, 5]),
        ref_embeddings=references,
        ref_labels=tensor([4, 4, 6]),
        similarity="dot",
        temperature=1.0,
        reduction="none",
    )
    expected = [log(exp(4) + exp(2) + exp(-6)) - (4 + 2) / 2, 0]
    assert rows.tolist() == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------- clip, linear, logsumexp


def test_clip_of_two_pairs():
    """Scores [[2, 1], [0, 3]]: rows see (2, 1) and (0, 3), columns (2, 0) and (1, 3)."""
    image = tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    text = tensor([[2.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    rows = [log(1 + exp(1 - 2)), log(1 + exp(0 - 3))]
    cols = [log(1 + exp(0 - 2)), log(1 + exp(1 - 3))]
    each = [(r + c) / 2 for r, c in zip(rows, cols, strict=True)]

    def loss(**options):
        return fastloss.clip_loss(image, text, logit_scale=1.0, similarity="dot", **options)

    assert loss(reduction="none").tolist() == pytest.approx(each, rel=1e-13)
    assert loss().item() == pytest.approx(sum(each) / 2, rel=1e-13)
    weights = tensor([3.0, 1.0])
    expected = (3 * each[0] + each[1]) / 4
    assert loss(weights=weights).item() == pytest.approx(expected, rel=1e-13)
    # Pairs of one name are not each other's negatives.
    assert loss(key_ids=tensor([5, 5])).item() == 0


def test_clip_gradient_of_two_pairs():
    """∂L/∂s_01 = ½ · ½ (p_row + p_col) with p = σ(s − other): rows σ(1 − 2), columns σ(1 − 3)."""
    image = tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    text = tensor([[2.0, 0.0], [1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    fastloss.clip_loss(image, text, logit_scale=1.0, similarity="dot").backward()

    def sigmoid(x):
        return 1 / (1 + exp(-x))

    # text_j · image_i = s_ij and the images are unit vectors: grad_text[j][i] = ∂L/∂s_ij.
    off = [(sigmoid(1 - 2) + sigmoid(1 - 3)) / 4, (sigmoid(0 - 3) + sigmoid(0 - 2)) / 4]
    diagonal = [-(sigmoid(1 - 2) + sigmoid(0 - 2)) / 4, -(sigmoid(0 - 3) + sigmoid(1 - 3)) / 4]
    expected = [diagonal[0], off[1], off[0], diagonal[1]]
    assert text.grad.flatten().tolist() == pytest.approx(expected, rel=1e-13)


def test_linear_cross_entropy_with_everything():
    """Scores (1, 0, −1) + bias (0, ½, 0) for the rows kept, classes weighing 2, 1, 4; ε = 0.3."""
    x = tensor([[1.0], [7.0], [1.0]], dtype=torch.float64)
    layer = tensor([[1.0], [0.0], [-1.0]], dtype=torch.float64)
    bias = tensor([0.0, 0.5, 0.0], dtype=torch.float64)
    target, weight = tensor([0, 9, 2]), tensor([2.0, 1.0, 4.0])
    scores = [1.0, 0.5, -1.0]
    lse = log(sum(exp(s) for s in scores))
    smooth = 0.1 * sum(w * (lse - s) for w, s in zip((2, 1, 4), scores, strict=True))
    rows = [0.7 * 2 * (lse - 1.0) + smooth, 0.0, 0.7 * 4 * (lse - -1.0) + smooth]
    options = {
        "linear_bias": bias, "weight": weight, "ignore_index": 9, "label_smoothing": 0.3,
    }  # fmt: skip
    none = fastloss.linear_cross_entropy(x, layer, target, reduction="none", **options)
    assert none.tolist() == pytest.approx(rows, rel=1e-13)
    mean = fastloss.linear_cross_entropy(x, layer, target, **options)
    assert mean.item() == pytest.approx(sum(rows) / (2 + 4), rel=1e-13)


def test_linear_cross_entropy_without_rows():
    x, layer = torch.randn(3, 2, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    loss = fastloss.linear_cross_entropy(x, layer, tensor([-100, -100, -100]))
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()
    assert not layer.grad.any()


def test_pairwise_logsumexp_of_written_scores():
    query, key = logits(1.0, 2.0, -1.0)
    lse = fastloss.pairwise_logsumexp(query, key)
    assert lse.tolist() == pytest.approx([log(exp(1) + exp(2) + exp(-1))], rel=1e-14)
    columns = fastloss.pairwise_logsumexp(query, key, dim=0, key_bias=tensor([0.0, 1.0, 2.0]))
    assert columns.tolist() == pytest.approx([1.0, 3.0, 1.0], rel=1e-14)
    none = fastloss.pairwise_logsumexp(query, key[:0])
    assert none.tolist() == [-float("inf")]
