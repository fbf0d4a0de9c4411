"""What holds for losses over lists beyond the generic tests: long lists, means, laws of scores."""

import inspect
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastloss
from accuracy import Judge, assert_close
from case import generator, run
from cases import CASES
from ranking import ListSize, draw_lists

LISTWISE = [case for case in CASES if "offsets" in inspect.signature(case.function).parameters]
PAIR_SUMS = [case for case in LISTWISE if "method" in inspect.signature(case.function).parameters]
VARIANTS = [(case, variant) for case in LISTWISE for variant in case.variants]


# ------------------------------------------------------------------------------------- long lists


def pair_sum(scores, labels, term, rows=512):
    """Mean over pairs and its gradient, in float64, a block of rows of pairs at a time.

    `term(gap)` returns the loss of a pair and its derivative by the gap.
    """
    scores, labels = scores.double(), labels.double()
    gradient = torch.zeros_like(scores)
    totals, count = [], 0
    # Items by label: below a row are those up to where its label begins.
    order = labels.argsort()
    s, y = scores[order], labels[order]
    below = torch.searchsorted(y, y)  # how many labels are smaller
    for start in range(0, len(s), rows):
        stop = min(start + rows, len(s))
        width = int(below[start:stop].max())
        if width == 0:
            continue
        inside = torch.arange(width) < below[start:stop, None]
        value, slope = term(s[start:stop, None] - s[:width])
        value, slope = value * inside, slope * inside
        totals.append(value.sum())
        count += int(inside.sum())
        gradient[order[start:stop]] += slope.sum(1)
        gradient[order[:width]] -= slope.sum(0)
    return math.fsum(totals) / count, gradient / count


def logistic(sigma):
    def term(gap):
        # Small parts survive: log1p of what is at most 1.
        decay = torch.exp(-(sigma * gap).abs())
        value = (-sigma * gap).clamp(min=0) + torch.log1p(decay)
        return value, -sigma * torch.sigmoid(-sigma * gap)

    return term


def hinge(margin, power):
    def term(gap):
        short = (margin - gap).clamp(min=0)
        return short**power, -(short > 0).double() * power * short ** (power - 1)

    return term


TERMS = {
    "ranknet": ("ranknet_loss", {"sigma": 1.0}, logistic(1.0)),
    "ranknet, sigma 30": ("ranknet_loss", {"sigma": 30.0}, logistic(30.0)),
    "ranknet, sigma 0.01": ("ranknet_loss", {"sigma": 0.01}, logistic(0.01)),
    "hinge": ("pairwise_hinge_loss", {"margin": 0.7}, hinge(0.7, 1)),
    "squared hinge": ("pairwise_hinge_loss", {"margin": 0.7, "power": 2}, hinge(0.7, 2)),
}


def long_list(labels, n, offset=0.0):
    inputs = draw_lists(generator(n), torch.float64, ListSize(1, n, offset=offset))
    if labels == "one in fifty":
        return inputs["scores"][0], torch.rand(n, generator=generator(1)) < 0.02
    # What float32 cannot tell apart is a tie in either type.
    labels = inputs[labels][0]
    return inputs["scores"][0], labels.float() if labels.is_floating_point() else labels


@pytest.mark.parametrize(
    ("labels", "n"),
    [("one in fifty", 20_000), ("labels", 3_000), ("labels_real", 3_000), ("labels_real", 5_000)],
)
@pytest.mark.parametrize("kind", TERMS)
def test_long_lists(kind, labels, n):
    """Within 1e-6 in float32 and 1e-13 in float64 of the sum over pairs, gradients too.

    An offset of 1000, which both types store exactly here, costs nothing of that.
    """
    name, options, term = TERMS[kind]
    scores, labels = long_list(labels, n)
    exact, gradient = pair_sum(scores, labels, term)
    for dtype, bound in ((torch.float32, 1e-6), (torch.float64, 1e-13)):
        for offset in (0.0, 1000.0):
            for method in ("auto", "sorted"):
                leaf = (scores + offset).to(dtype).requires_grad_()
                loss = getattr(fastloss, name)(leaf, labels, method=method, **options)
                assert abs(loss.item() - exact) <= bound * exact, (dtype, offset, method)
                loss.backward()
                error = (leaf.grad.double() - gradient).abs().max()
                assert error <= bound * gradient.abs().max(), (dtype, offset, method)


# -------------------------------------------------------------------------------------- mean_list


@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_mean_list(case, variant):
    size = case.sizes[0]
    judge = Judge(case, lambda dtype: case.arguments(variant, size, dtype, reduction="mean_list"))
    judge.accept(case.function)
    judge.accept_loss(case.function)


@pytest.mark.parametrize("case", LISTWISE, ids=str)
def test_mean_list_of_edges(case):
    """Lists without a pair or an item are left out; a NaN is not."""
    for edge in case.edges:
        arguments = [
            edge.arguments(dtype) | {"reduction": "mean_list"}
            for dtype in (torch.float32, torch.float64)
        ]
        judge = Judge(
            case,
            lambda dtype, arguments=arguments: arguments[dtype == torch.float64],
            wrt=None if edge.gradients else (),
            terms=edge.terms,
        )
        judge.accept(case.function)


# ----------------------------------------------------------------------------------- laws of scores


@st.composite
def calls(draw, cases=LISTWISE):
    case = draw(st.sampled_from(cases))
    variant = draw(st.sampled_from(case.variants))
    size = ListSize(draw(st.integers(1, 6)), draw(st.integers(1, 90)))
    seed = draw(st.integers(0, 2**32 - 1))
    reduction = draw(st.sampled_from(["mean", "sum", "none", "mean_list"]))
    return case, case.arguments(variant, size, torch.float64, seed, reduction=reduction)


@given(calls())
def test_score_gradients_of_a_list_sum_to_zero(call):
    """Only differences count."""
    case, arguments = call
    gradient = run(case.function, arguments, ("scores",)).gradients["scores"]
    offsets = arguments.get("offsets")
    if offsets is not None:
        rows = [gradient[a:z] for a, z in pairwise(offsets)]
    else:
        rows = gradient if gradient.dim() == 2 else [gradient]
    for row in rows:
        assert row.sum().abs() <= 1e-12 * row.abs().sum()


@given(calls(), st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
def test_dtypes_of_labels_and_weights_do_not_promote(call, dtype):
    case, arguments = call
    expected = run(case.function, arguments).loss
    changed = {
        name: arguments[name].to(dtype)
        for name in ("weights", "list_weights", "labels")
        if name in arguments
    }
    got = run(case.function, arguments | changed).loss
    assert got.dtype == expected.dtype
    same = {name: value.double() for name, value in changed.items()}
    assert_close(got, run(case.function, arguments | same).loss)


@given(calls())
def test_weights_scale_out_of_means(call):
    """Twice the weights, of items or of lists, changes no mean."""
    case, arguments = call
    for reduction in ("mean", "mean_list"):
        arguments["reduction"] = reduction
        expected = run(case.function, arguments).loss
        for name in ("weights", "list_weights"):
            if arguments.get(name) is not None:
                doubled = arguments | {name: 2 * arguments[name]}
                assert_close(run(case.function, doubled).loss, expected)


@given(calls(PAIR_SUMS))
def test_an_item_of_weight_two_is_two_items(call):
    """As far as it is the higher one: it is put above all others, where nothing ties with it."""
    case, arguments = call
    if arguments["scores"].dim() == 1 or arguments.get("ties") == "half":
        return
    scores, labels = arguments["scores"], arguments["labels"].double()
    weights = arguments.get("weights")
    weights = torch.ones_like(scores) if weights is None else weights

    def with_top(copies, weight):
        new = {
            "scores": torch.full_like(scores[:, :1], 0.3).expand(-1, copies),
            "labels": torch.full_like(labels[:, :1], 9.0).expand(-1, copies),
            "weights": torch.full_like(weights[:, :1], weight).expand(-1, copies),
            "where": torch.ones(len(scores), copies, dtype=torch.bool),
        }
        old = {"scores": scores, "labels": labels, "weights": weights}
        if arguments.get("where") is not None:
            old["where"] = arguments["where"]
        joined = {name: torch.cat([old[name], new[name]], dim=1) for name in old}
        return run(case.function, arguments | joined).loss

    assert_close(with_top(1, 2.0), with_top(2, 1.0))


@pytest.mark.parametrize("gap", [-40.0, -100.0, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", PAIR_SUMS, ids=str)
def test_a_badly_misordered_pair_keeps_its_gradient(case, dtype, gap):
    """In a short list and in a long one: no logarithm is clamped."""
    for others in (0, 300):
        scores = torch.zeros(2 + others, dtype=dtype)
        scores[0], scores[1:2] = gap, 0.0
        labels = torch.zeros(2 + others)
        labels[0] = 1
        for method in ("pairs", "sorted"):
            given = {"scores": scores, "labels": labels, "method": method}
            gradient = run(case.function, given, ("scores",), torch.tensor(1.0)).gradients
            assert gradient["scores"][0].item() == pytest.approx(-1.0, rel=1e-6)
            assert (gradient["scores"][1:] > 0).all()


@pytest.mark.parametrize("case", LISTWISE, ids=str)
def test_extreme_scores_stay_finite(case):
    """Gaps of 2 · 10⁴, whose exponentials leave the range of every type."""
    for n in (3, 400):
        for dtype in (torch.float32, torch.float64, torch.float16):
            scores = torch.linspace(-1e4, 1e4, n, dtype=torch.float64).to(dtype)
            result = run(
                case.function,
                {"scores": scores.flip(0), "labels": torch.arange(n)},
                ("scores",),
                torch.tensor(1.0),
            )
            assert result.loss.isfinite()
            assert result.gradients["scores"].isfinite().all()
            assert result.loss > 1e3  # all in the wrong order


@pytest.mark.parametrize("where", [False, True])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("case", LISTWISE, ids=str)
def test_any_score_is_survived(case, value, where):
    """No index leaves its range, whatever is compared; a NaN makes its own list NaN only."""
    for n in (3, 70, 700):
        for share in (0.1, 0.9, 1.0):
            scores = torch.randn(2, n, generator=generator(n))
            hit = torch.rand(n, generator=generator(n + 1)) < share
            hit[0] = True
            scores[1, hit] = value
            arguments = {"scores": scores, "labels": torch.arange(n).expand(2, n) % 4}
            if where:
                arguments["where"] = ~hit.expand(2, n)
            for method in ("pairs", "sorted") if case in PAIR_SUMS else (None,):
                given = arguments | ({} if method is None else {"method": method})
                result = run(case.function, given | {"reduction": "none"}, ("scores",))
                assert result.loss[0].isfinite()
                assert result.gradients["scores"][0].isfinite().all()
                if where:
                    assert result.loss[1].isfinite()
                    assert not result.gradients["scores"][1, hit].any()
                elif math.isnan(value):
                    assert result.loss[1].isnan()
