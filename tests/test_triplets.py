"""Triplets by labels: what is particular to them, and the statistics."""

import pytest
import torch

import fastloss
from accuracy import DTYPES, HALVES, assert_close
from case import generator, run, to_dtype
from labelled import REFERENCES, draw, edges, errors
from pairwise import SIMILARITIES, PairSize

LOSSES = ("batch_all_triplet_loss", "semi_hard_triplet_loss")


SIZE = PairSize(40, 50, 9)


def labelled(size=SIZE, dtype=torch.float64, references=False, seed=0):
    inputs = draw(generator(seed), dtype, size)
    names = ("embeddings", "labels", *(REFERENCES if references else ()))
    return {name: inputs[name] for name in names}


# --------------------------------------------------------------------------------- written values


def test_batch_all_by_hand():
    """Anchors 0 and 1 have a positive; distances 0–1: 1, 0–2: 3, 1–2: 2."""
    arguments = {
        "embeddings": torch.tensor([[0.0], [1.0], [3.0]]),
        "labels": torch.tensor([7, 7, 8]),
        "margin": 1.5,
    }
    loss = fastloss.batch_all_triplet_loss
    rows = [0.0, 1 - 2 + 1.5, 0.0]  # 1 − 3 + 1.5 is below 0
    assert_close(loss(**arguments, reduction="none"), torch.tensor(rows))
    assert_close(loss(**arguments), torch.tensor(0.5 / 1))
    assert_close(loss(**arguments, average="valid"), torch.tensor(0.5 / 2))
    gradient = run(loss, arguments, ("embeddings",), torch.tensor(1.0)).gradients["embeddings"]
    # ∂(x1 − x0 − (x2 − x1))
    assert_close(gradient.squeeze(1), torch.tensor([-1.0, 2.0, -1.0]))
    soft = loss(**arguments, hinge="softplus", reduction="sum")
    expected = torch.tensor([1 - 3 + 1.5, 1 - 2 + 1.5]).exp().log1p().sum()
    assert_close(soft, expected)


def test_semi_hard_by_hand():
    arguments = {
        "embeddings": torch.tensor([[0.0], [2.0], [1.0], [2.5], [9.0]]),
        "labels": torch.tensor([7, 7, 8, 9, 9]),
    }
    rows = [
        2 - 2.5 + 1,  # negatives at 1, 2.5, 9: the nearest beyond 2
        0.0,  # at 1, 0.5, 7: the nearest beyond 2 is 7, beyond the margin
        0.0,  # no positive
        6.5 - 2.5 + 1,  # at 2.5, 0.5, 1.5: none is beyond 6.5, the farthest is 2.5
        6.5 - 7 + 1,  # at 9, 7, 8: the nearest beyond 6.5
    ]
    loss = fastloss.semi_hard_triplet_loss
    assert_close(loss(**arguments, reduction="none"), torch.tensor(rows))
    assert_close(loss(**arguments), torch.tensor(sum(rows) / 4))
    gradient = run(loss, arguments, ("embeddings",), torch.tensor(4.0)).gradients["embeddings"]
    # anchors 0: x1 − x3, 3: (x4 − x3) − (x3 − x0), 4: (x4 − x3) − (x4 − x1)
    expected = torch.zeros(5)
    for index, slope in ((1, 1), (3, -1), (4, 1), (3, -2), (0, 1), (3, -1), (1, 1)):
        expected[index] += slope
    assert_close(gradient.squeeze(1), expected)


def test_ties_take_the_lowest_index():
    """Of two nearest or farthest negatives at one distance the first gets the gradient."""
    for place in (2.0, 0.5):
        arguments = {
            "embeddings": torch.tensor([[0.0], [1.0], [place], [-place]]),
            "labels": torch.tensor([1, 1, 2, 3]),
            "margin": 2.0,
            "reduction": "none",
        }
        upstream = torch.tensor([1.0, 0.0, 0.0, 0.0])
        result = run(fastloss.semi_hard_triplet_loss, arguments, ("embeddings",), upstream)
        gradient = result.gradients["embeddings"].squeeze(1)
        assert_close(gradient, torch.tensor([0.0, 1.0, -1.0, 0.0]))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_one_positive_and_one_negative(similarity):
    """A triplet is a triplet: the hinge of two distances."""
    x = torch.randn(3, 5, generator=generator(1), dtype=torch.float64)
    labels = torch.tensor([1, 1, 2])
    distance = fastloss.reference.metric._candidates.distances(x, None, similarity)
    expected = (distance[0, 1] - distance[0, 2] + 2).clamp(min=0)
    for name in LOSSES:
        refs = {"ref_embeddings": x[1:], "ref_labels": labels[1:]}
        loss = getattr(fastloss, name)(
            x[:1], labels[:1], **refs, margin=2.0, similarity=similarity, reduction="none"
        )
        assert_close(loss, expected[None])


def test_kinks_have_no_gradient():
    """d_ap + m = d_an exactly: products of small integers are the same in every dtype."""
    arguments = {
        "embeddings": torch.tensor([[1.0], [3.0], [2.0]]),
        "labels": torch.tensor([0, 0, 1]),
        "similarity": "dot",
        "reduction": "none",
    }
    upstream = torch.tensor([1.0, 0.0, 0.0])
    for name in LOSSES:
        result = run(getattr(fastloss, name), arguments, ("embeddings",), upstream)
        assert result.loss[0] == 0
        assert result.gradients["embeddings"].count_nonzero() == 0


def lattice(n, m, seed, dtype):
    """Products are small integers, exact in every dtype, with many ties."""
    g = generator(seed)
    rows, refs = (
        torch.randint(-2, 3, (n, 2), generator=g),
        torch.randint(-2, 3, (m, 2), generator=g),
    )
    return {
        "embeddings": rows.to(dtype),
        "labels": torch.randint(4, (n,), generator=g),
        "ref_embeddings": refs.to(dtype),
        "ref_labels": torch.randint(4, (m,), generator=g),
        "similarity": "dot",
    }


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", LOSSES)
def test_ties_on_a_lattice(name, margin):
    """Positives and negatives at equal distances, gaps at their kink: in all dtypes the
    reference's decision."""
    for dtype in (*DTYPES, *HALVES):
        arguments = lattice(90, 140, 3, dtype) | {"margin": margin, "reduction": "sum"}
        one = torch.tensor(1.0)
        wrt = ("embeddings", "ref_embeddings")
        ours = run(getattr(fastloss, name), arguments, wrt, one)
        exact = run(
            getattr(fastloss.reference, name), to_dtype(arguments, torch.float64), wrt, one.double()
        )
        assert ours.loss.double() == exact.loss
        for operand in wrt:
            expected = exact.gradients[operand].to(dtype)
            assert_close(ours.gradients[operand], expected, f"{operand} in {dtype}")


def test_counts_beyond_2_to_the_31():
    """Two classes of 1 300: 2 · 1 300 · 1 299 · 1 300 triplets, all of them known."""
    n = 2600
    labels = torch.arange(n) % 2
    embeddings = labels[:, None].float()  # positives at 0, negatives at 1
    valid = n * 1299 * 1300
    assert valid > 2**31
    statistics = fastloss.triplet_statistics(embeddings, labels, margin=1.5)
    assert [count.item() for count in statistics[:4]] == [valid, valid, 0, valid]
    assert statistics.mean_positive_distance == 0
    assert statistics.mean_negative_distance == 1
    for average in ("active", "valid"):
        loss = fastloss.batch_all_triplet_loss(embeddings, labels, margin=1.5, average=average)
        assert loss.item() == 0.5
    total = fastloss.batch_all_triplet_loss(
        embeddings.double(), labels, margin=1.5, reduction="sum"
    )
    assert total.item() == valid / 2


@pytest.mark.parametrize("positives", [3, 40, 90])
@pytest.mark.parametrize("hinge", ["relu", "softplus"])
def test_many_positives(hinge, positives):
    """Thresholds compared one by one or searched; softplus pair by pair or by sweeps."""
    g = generator(4)
    n = 2 * positives
    for dtype in DTYPES:
        arguments = {
            "embeddings": torch.randn(n, 6, generator=g, dtype=torch.float64).to(dtype),
            "labels": torch.arange(n) % 2,
            "margin": 0.25,
            "hinge": hinge,
        }
        exact = run(
            fastloss.reference.batch_all_triplet_loss, to_dtype(arguments, torch.float64)
        ).loss
        assert_close(fastloss.batch_all_triplet_loss(**arguments), exact.to(dtype))


# ------------------------------------------------------------------------------------- statistics


def check_statistics(arguments):
    ours = fastloss.triplet_statistics(**arguments)
    expected = fastloss.reference.triplet_statistics(**to_dtype(arguments, torch.float64))
    dtype = torch.promote_types(arguments["embeddings"].dtype, torch.float32)
    for name, count, exact in zip(ours._fields[:4], ours[:4], expected[:4], strict=True):
        assert count.dtype == torch.int64
        assert count.dim() == 0
        assert count == exact, name
    for name, mean, exact in zip(ours._fields[4:], ours[4:], expected[4:], strict=True):
        assert mean.dtype == dtype
        assert_close(mean, exact.to(dtype), name)


@pytest.mark.parametrize("references", [False, True])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_statistics(similarity, references):
    for dtype in (*DTYPES, *HALVES):
        for margin in (0.0, 0.3, 1.0):
            arguments = labelled(dtype=dtype, references=references)
            check_statistics(arguments | {"similarity": similarity, "margin": margin})


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0, 5.0])
def test_statistics_of_ties(margin):
    check_statistics(lattice(60, 90, 5, torch.float32) | {"margin": margin})


# Without those whose distances are equal but for rounding, or NaN.
COUNTED = [e for e in edges() if not any(t in e.name for t in ("equal", "duplicates", "NaN"))]


@pytest.mark.parametrize("edge", COUNTED, ids=str)
def test_statistics_of_edges(edge):
    check_statistics(edge.arguments(torch.float64))


@pytest.mark.parametrize("error", list(errors()), ids=str)
def test_statistics_errors(error):
    arguments = error.change(labelled(PairSize(4, 6, 3), torch.float32))
    with pytest.raises(error.exception, match=rf"^triplet_statistics: .*\b{error.mentions}\b"):
        fastloss.triplet_statistics(**arguments)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_statistics_of_nan(similarity):
    arguments = labelled()
    arguments["embeddings"][3, 1] = torch.nan
    statistics = fastloss.triplet_statistics(**arguments, similarity=similarity)
    assert statistics.mean_positive_distance.isnan()
    assert statistics.mean_negative_distance.isnan()
    assert statistics.valid == fastloss.reference.triplet_statistics(**arguments).valid


def test_statistics_have_no_gradient_and_compile():
    arguments = labelled(dtype=torch.float32)
    expected = fastloss.triplet_statistics(**arguments)
    leaf = arguments["embeddings"].clone().requires_grad_()
    ours = fastloss.triplet_statistics(**arguments | {"embeddings": leaf})
    assert not any(value.requires_grad for value in ours)
    compiled = torch.compile(fastloss.triplet_statistics, fullgraph=True, backend="aot_eager")
    for value, other in zip(compiled(**arguments | {"embeddings": leaf}), expected, strict=True):
        assert torch.equal(value, other)


def test_statistics_agree_with_the_loss():
    """active is what the mean of the losses divides by; nothing hard, no semi-hard: no loss."""
    arguments = labelled() | {"margin": 0.3}
    statistics = fastloss.triplet_statistics(**arguments)
    total = fastloss.batch_all_triplet_loss(**arguments, reduction="sum")
    assert_close(total / statistics.active, fastloss.batch_all_triplet_loss(**arguments))
    assert statistics.active == statistics.hard + statistics.semi_hard
    valid = fastloss.batch_all_triplet_loss(**arguments, average="valid")
    assert_close(total / statistics.valid, valid)
