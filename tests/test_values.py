"""Losses equal the reference, within the budget of accuracy.py, in both dtypes."""

import pytest
import torch

from accuracy import Judge
from case import run
from cases import CASES

VARIANTS = [(case, variant) for case in CASES for variant in case.variants]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_every_variant(case, variant, reduction):
    """Of wide inputs; test_gradients.py has the other sizes, without gradients too."""
    size = case.sizes[1]
    judge = Judge(case, lambda dtype: case.arguments(variant, size, dtype, reduction=reduction), ())
    judge.accept(case.function)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_arguments_are_not_written_to(case):
    for variant in case.variants:
        arguments = case.arguments(variant, case.small)
        before = {k: v.clone() for k, v in arguments.items() if isinstance(v, torch.Tensor)}
        run(case.function, arguments, case.may_require_grad(arguments))
        for name, value in before.items():
            assert torch.equal(arguments[name].nan_to_num(), value.nan_to_num()), name
