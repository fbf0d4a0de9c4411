"""Every SIMD clone and every matrix-product back end gives the result of the others."""

from contextlib import contextmanager
from functools import cache, partial

import pytest

import fastloss
from accuracy import Judge
from cases import CASES, PAIRWISE

SIMD = tuple(fastloss.build_info()["simd_available"])
PRODUCTS = ("brgemm", "mm")


@contextmanager
def simd(name):
    before = fastloss.build_info()["simd"]
    fastloss._C.set_simd(name)
    try:
        assert fastloss.build_info()["simd"] == name
        yield
    finally:
        fastloss._C.set_simd(before)


@contextmanager
def matrix_product(name):
    before = fastloss.build_info()["matrix_product"]
    try:
        fastloss._C.set_matrix_product(name)
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"{name}: {error}")
    try:
        yield
    finally:
        fastloss._C.set_matrix_product(before)


@cache
def judges(case_name):
    """The exact results once for all clones."""
    case = next(case for case in CASES if case.name == case_name)
    size = case.sizes[0].resized(n=33, m=131, d=35)
    return [
        Judge(case, partial(case.arguments, variant, size, reduction=("mean", "none")[i % 2]))
        for i, variant in enumerate(case.variants)
    ]


@cache
def edge_judges(case_name):
    """Losses at the edges: gradients are left to test_edges.py."""
    case = next(case for case in CASES if case.name == case_name)
    return [Judge(case, edge.arguments, (), edge.terms) for edge in case.edges]


def accept(case):
    for judge in judges(case.name) + edge_judges(case.name):
        judge.accept(case.function)


@pytest.mark.parametrize("name", SIMD)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_simd_clone(case, name):
    """Masks, infinities and NaN too go through each clone's own instructions."""
    with simd(name):
        accept(case)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("case", PAIRWISE, ids=str)
def test_matrix_product(case, name):
    with matrix_product(name):
        accept(case)


def test_unknown_names_are_errors():
    for set_name in (fastloss._C.set_simd, fastloss._C.set_matrix_product):
        with pytest.raises((ValueError, RuntimeError)):
            set_name("nonesuch")
