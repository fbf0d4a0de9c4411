"""Losses equal the reference, within the budget of accuracy.py, in both dtypes."""

import pytest
import torch

from accuracy import Judge
from case import run
from cases import CASES

VARIANTS = [(case, variant) for case in CASES for variant in case.variants]
SIZES = [(case, size) for case in CASES for size in case.sizes]
KINDS_BY_REDUCTION = {
    "mean": ("sharp", "smoothing all"),
    "none": ("plain", "decoupled all", "ignoring all", "ids all", "all", "dim 0 all"),
}


def judge(case, variant, size, reduction):
    """For the loss alone."""
    return Judge(case, lambda dtype: case.arguments(variant, size, dtype, reduction=reduction), ())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("size_index", [0, 1], ids=["ragged", "wide"])
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_every_variant(case, variant, size_index, reduction):
    judge(case, variant, case.sizes[size_index], reduction).accept(case.function)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "size"), SIZES, ids=str)
def test_every_size(case, size, reduction):
    """Sizes and feature scales, for the variants that differ most."""
    for variant in case.variants:
        if variant.kind in KINDS_BY_REDUCTION[reduction]:
            judge(case, variant, size, reduction).accept(case.function)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_arguments_are_not_written_to(case):
    for variant in case.variants:
        arguments = case.arguments(variant, case.small)
        before = {k: v.clone() for k, v in arguments.items() if isinstance(v, torch.Tensor)}
        run(case.function, arguments, case.may_require_grad(arguments))
        for name, value in before.items():
            assert torch.equal(arguments[name].nan_to_num(), value.nan_to_num()), name
