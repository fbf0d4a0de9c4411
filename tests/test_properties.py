"""Laws that hold for any input: one test a property, over all losses."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastloss
from accuracy import assert_close
from case import generator, run
from cases import CASES, PAIRWISE

REDUCED = [case for case in CASES if case.has_reduction]
OF_PAIRS = ("in_batch_bpr_loss", "in_batch_hinge_loss")  # their mean is over pairs
WEIGHTED = [
    case
    for case in PAIRWISE
    if "weights" in inspect.signature(case.function).parameters and case.name not in OF_PAIRS
]
SEED = st.integers(0, 2**32 - 1)


@st.composite
def calls(draw, cases=CASES):
    """A case, a variant, and arguments of a random ragged size with reduction "none"."""
    case = draw(st.sampled_from(cases))
    variant = draw(st.sampled_from(case.variants))
    size = case.small.resized(
        n=(n := draw(st.integers(1, 40))),
        m=n + draw(st.integers(0, 40)),
        d=draw(st.integers(1, 20)),
        h=draw(st.integers(1, 4)),
    )
    arguments = case.arguments(variant, size, torch.float64, draw(SEED), reduction="none")
    return case, arguments


INVARIANCES = [(case, invariance) for case in CASES for invariance in case.invariances]


@pytest.mark.parametrize(("case", "invariance"), INVARIANCES, ids=str)
def test_invariance(case, invariance):
    """Every invariance over every variant it applies to, values and gradients alike."""
    applied = 0
    for seed, variant in enumerate(case.variants):
        size = case.small.resized(n=17, m=29, d=6)
        arguments = case.arguments(variant, size, torch.float64, seed, reduction="none")
        if variant.kind == "sharp":
            continue  # score differences of 1e-13 are divided by 0.005
        change = invariance.change(arguments, generator(seed + 100))
        if change is None:
            continue
        applied += 1
        changed, expected = change
        before = run(case.function, arguments).loss
        after = run(case.function, changed).loss
        torch.testing.assert_close(after, expected(before), rtol=1e-11, atol=1e-12)
    assert applied > 0


@given(calls(REDUCED))
def test_none_sums_to_sum(call):
    case, arguments = call
    rows = run(case.function, arguments).loss
    total = run(case.function, arguments | {"reduction": "sum"}).loss
    assert_close(total, rows.sum())


@given(calls(WEIGHTED))
def test_mean_divides_by_the_weights(call):
    """Sum over mean is the total weight of the rows that count; doubling it changes no mean."""
    case, arguments = call
    mean = run(case.function, arguments | {"reduction": "mean"}).loss
    total = run(case.function, arguments | {"reduction": "sum"}).loss
    rows = run(case.function, arguments | {"weights": None}).loss
    counts = rows != 0
    weights = arguments.get("weights")
    items = len(arguments[case.operands[0]])
    weights = rows.new_ones(items) if weights is None else weights
    # An item's weight is that of all of its rows: nt_xent's has two.
    divisor = (weights.repeat(len(rows) // max(items, 1)) * counts).sum()
    if counts.all():
        assert_close(mean * divisor, total)
    doubled = arguments | {"weights": 2 * weights, "reduction": "mean"}
    assert_close(run(case.function, doubled).loss, mean)


@pytest.mark.parametrize("name", OF_PAIRS)
def test_mean_of_pairs_divides_by_them(name):
    case = next(case for case in PAIRWISE if case.name == name)
    variant = next(v for v in case.variants if v.kind == "weights")
    size = case.small.resized(n=5, m=9)
    arguments = case.arguments(variant, size, torch.float64, reduction="mean")
    mean = run(case.function, arguments).loss
    total = run(case.function, arguments | {"reduction": "sum"}).loss
    assert_close(mean * 8 * arguments["weights"].sum(), total)
    doubled = arguments | {"weights": 2 * arguments["weights"]}
    assert_close(run(case.function, doubled).loss, mean)


@given(calls(), SEED)
def test_a_gradient_is_linear_in_the_upstream_gradient(call, seed):
    case, arguments = call
    names = case.may_require_grad(arguments)
    rows = run(case.function, arguments).loss.shape
    a, b = torch.randn(2, *rows, generator=generator(seed), dtype=torch.float64)
    of_a, of_b, of_both = (
        run(case.function, arguments, names, upstream).gradients for upstream in (a, b, 2 * a - b)
    )
    for name in names:
        expected = 2 * of_a[name] - of_b[name]
        # 1: what cancels where a gradient is zero, as that of a cosine of one feature.
        size = of_a[name].abs().max() + of_b[name].abs().max() + 1
        assert (of_both[name] - expected).abs().max() <= 1e-12 * size, name


@given(calls(REDUCED))
def test_none_pulled_back_by_ones_is_the_gradient_of_the_sum(call):
    """Two ways to the same gradient: recomputed in backward, and formed in the forward."""
    case, arguments = call
    names = case.may_require_grad(arguments)
    ones = torch.ones_like(run(case.function, arguments).loss)
    by_rows = run(case.function, arguments, names, ones).gradients
    total = run(case.function, arguments | {"reduction": "sum"}, names, torch.tensor(1.0))
    for name in names:
        size = total.gradients[name].abs().max()
        error = (by_rows[name] - total.gradients[name]).abs().max()
        assert error <= 1e-12 * size + 1e-300, name


# Every variant as a mean; the factors of single rows with some that have nothing, and everything.
CHUNKED = [
    (case, variant, reduction)
    for case in PAIRWISE
    for variant in case.variants
    for reduction in ("mean", "none")
    if reduction == "mean" or variant.kind == "plain" or variant.kind.endswith("all")
]


@pytest.mark.parametrize(("case", "variant", "reduction"), CHUNKED, ids=str)
def test_workspace_limit_does_not_change_the_result(case, variant, reduction):
    """Chunks of rows, blocks of columns, one tile or all at once: the same to rounding."""
    size = case.small.resized(n=290, m=600, d=9)
    dtype = torch.float32 if reduction == "mean" else torch.float64
    arguments = case.arguments(variant, size, dtype, reduction=reduction)
    names = case.may_require_grad(arguments)
    whole = run(case.function, arguments, names)
    for limit in (1, 30_000, 300_000):
        with fastloss.workspace_limit(limit):
            part = run(case.function, arguments, names)
        assert_close(part.loss, whole.loss, f"loss with {limit} bytes")
        for name in names:
            what = f"gradient of {name} with {limit} bytes"
            assert_close(part.gradients[name], whole.gradients[name], what)


@pytest.mark.parametrize("case", PAIRWISE, ids=str)
def test_few_rows_of_many_keys(case):
    """Where rows are long, chunks of few rows are cut by panels; every kind of sum goes there."""
    size = case.small.resized(n=300, m=5000, d=33)
    for variant in case.variants:
        if variant.kind in ("plain", "all", "smoothing all", "ignoring all"):
            arguments = case.arguments(variant, size, torch.float64)
            names = case.may_require_grad(arguments)
            whole = run(case.function, arguments, names)
            with fastloss.workspace_limit(3 << 20):
                part = run(case.function, arguments, names)
            assert_close(part.loss, whole.loss, f"{variant}: loss")
            for name in names:
                assert_close(part.gradients[name], whole.gradients[name], f"{variant}: {name}")


def test_workspace_limit_is_a_setter_and_a_context_manager():
    """Nested limits come back in order, also after an error."""
    case = PAIRWISE[0]
    arguments = case.arguments(case.variants[0], case.small)
    before = run(case.function, arguments).loss
    with fastloss.workspace_limit(1 << 20), fastloss.workspace_limit(4096):
        assert_close(run(case.function, arguments).loss, before)
    with pytest.raises(KeyError), fastloss.workspace_limit(4096):
        raise KeyError
    fastloss.workspace_limit(1 << 20)
    assert_close(run(case.function, arguments).loss, before)
    fastloss.workspace_limit(64 << 20)
    for bad in (0, -1):
        with pytest.raises(ValueError, match="workspace_limit"):
            fastloss.workspace_limit(bad)
    for bad in (1.5, "64MB", None):
        with pytest.raises(TypeError, match="workspace_limit"):
            fastloss.workspace_limit(bad)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", PAIRWISE, ids=str)
def test_the_limit_of_the_forward_holds_for_its_backward(case, reduction):
    """Read once per forward: changing it in between changes no bit."""
    size = case.small.resized(n=97, m=333, d=9)
    arguments = case.arguments(case.variants[0], size, torch.float32, reduction=reduction)
    names = case.may_require_grad(arguments)
    with fastloss.workspace_limit(8192):
        expected = run(case.function, arguments, names)

    def small_then_large(**leaves):
        with fastloss.workspace_limit(8192):
            return case.function(**leaves)

    result = run(small_then_large, arguments, names)
    for name in names:
        assert torch.equal(result.gradients[name], expected.gradients[name]), name
