"""Same bits run to run; the number of threads changes rounding only."""

from contextlib import contextmanager

import pytest
import torch

import fastloss
from accuracy import judge_of
from case import run
from cases import CASES


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def variants(case):
    if not case.is_pairwise:
        return case.few_variants
    kinds = ("plain", "smoothing all", "all", "dim 0 all")
    likes = ("dot", "euclidean")  # the others differ from these in factors of rows
    return [v for v in case.variants if v.kind in kinds and v.name.split(", ")[0] in likes]


CALLS = [(case, variant) for case in CASES for variant in variants(case)]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), CALLS, ids=str)
def test_same_bits_run_to_run(case, variant, reduction):
    size = case.sizes[0].resized(n=400, m=900)
    arguments = case.arguments(variant, size, torch.float32, reduction=reduction)
    names = case.may_require_grad(arguments)
    with fastloss.workspace_limit(400_000):
        first = run(case.function, arguments, names)
        for _ in range(3):
            again = run(case.function, arguments, names)
            assert torch.equal(again.loss, first.loss)
            for name in names:
                assert torch.equal(again.gradients[name], first.gradients[name]), name


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), CALLS, ids=str)
def test_threads_agree(case, variant, reduction):
    """Few rows and many columns too, where threads share a row."""
    for n, m in case.thread_sizes:
        size = case.sizes[0].resized(n=n, m=m, d=17)
        judge = judge_of(case, variant, size, reduction)
        for count in (1, 2, 8):
            with threads(count):
                judge.accept(case.function)
