"""The edges of the definitions: tables in the cases, values and gradients against the reference."""

import time

import pytest
import torch

import fastloss
from accuracy import DTYPES, Judge
from case import run
from cases import CASES, PAIRWISE

EDGES = [(case, edge) for case in CASES for edge in case.edges]


def expect_rows(rows, edge, dtype):
    """The table's own numbers, where it has some."""
    if edge.rows is not None:
        expected = torch.tensor(edge.rows, dtype=dtype)
        assert rows.shape == expected.shape
        tolerance = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
        torch.testing.assert_close(rows, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


# A sum is a mean whose divisor is 1: test_values.py has it.
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize(("case", "edge"), EDGES, ids=str)
def test_edge(case, edge, reduction):
    """Value without gradients, value and gradients with them, and the table's own numbers."""
    judge = Judge(
        case, lambda dtype: case.reduced(edge.arguments(dtype), reduction), terms=edge.terms
    )
    judge.accept_loss(case.function)
    for dtype in DTYPES:
        arguments = judge.arguments[dtype]
        result = run(case.function, arguments, judge.wrt)
        if not edge.gradients:
            result.gradients.clear()
        judge.accept_result(result, dtype)
        if reduction == "none":
            expect_rows(result.loss, edge, dtype)


@pytest.mark.parametrize("case", PAIRWISE, ids=str)
def test_edge_in_small_chunks(case):
    """Edges must survive the column split, where a part of a row may be empty."""
    for edge in case.edges:
        arguments = case.reduced(edge.arguments(torch.float64), "none")
        names = case.may_require_grad(arguments)
        whole = run(case.function, arguments, names)
        with fastloss.workspace_limit(1):
            part = run(case.function, arguments, names)
        torch.testing.assert_close(
            part.loss, whole.loss, equal_nan=True, rtol=1e-12, atol=1e-14, msg=edge.name
        )
        for name in names if edge.gradients else ():
            mine, theirs = part.gradients[name], whole.gradients[name]
            size = theirs.abs().amax().nan_to_num(0).item() if theirs.numel() else 0.0
            torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-12 * size, msg=edge.name)


@pytest.mark.parametrize("case", [case for case in CASES if case.rows_are_independent], ids=str)
def test_a_nan_poisons_its_own_row_only(case):
    arguments = case.arguments(case.variants[0], case.small, reduction="none")
    clean = run(case.function, arguments).loss
    operand = arguments[case.operands[0]]
    operand[(1, *[0] * (operand.dim() - 1))] = torch.nan
    rows = run(case.function, arguments).loss
    assert rows[1].isnan().any()
    keep = torch.arange(len(rows)) != 1
    assert torch.equal(rows[keep], clean[keep])


def _repeated(repeats, n, m, d, generator):
    query = torch.randn(n, d, generator=generator)
    key = torch.randn(m, d, generator=generator)
    return query.repeat(repeats[0], 1), key.repeat(repeats[1], 1), query, key


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_more_than_2_to_the_31_scores(reduction):
    """46 400² > 2³¹ scores. Keys repeated r times add log r to the loss and change no gradient."""
    repeats = 464
    query, key, few_queries, few_keys = _repeated(
        (repeats, repeats), 100, 100, 1, torch.Generator().manual_seed(0)
    )
    assert len(query) * len(key) > 2**31
    target = torch.arange(100).repeat(repeats) + 100 * (repeats - 1)  # in the last copy
    options = {"similarity": "dot", "temperature": 1.0, "reduction": reduction}

    started = time.monotonic()
    many = run(
        fastloss.info_nce,
        {"query": query, "key": key, "target": target} | options,
        ("query",),
        torch.tensor(1.0) if reduction == "mean" else torch.ones(len(query)),
    )
    assert time.monotonic() - started < 60
    few = run(
        fastloss.reference.info_nce,
        {"query": few_queries.double(), "key": few_keys.double()} | options,
        ("query",),
        torch.tensor(1.0) if reduction == "mean" else torch.ones(100),
    )
    log_r = torch.tensor(float(repeats)).log().double()
    gradient = few.gradients["query"].repeat(repeats, 1)
    if reduction == "mean":
        gradient = gradient / repeats
    expected = few.loss + log_r
    expected = expected if reduction == "mean" else expected.repeat(repeats)
    torch.testing.assert_close(many.loss.double(), expected, rtol=2e-5, atol=0)
    error = (many.gradients["query"].double() - gradient).abs().max()
    assert error <= 2e-5 * gradient.abs().max()
