"""Each wrong argument raises the right exception, whose message names it."""

import inspect

import pytest
import torch

from cases import CASES

ERRORS = [(case, error) for case in CASES for error in case.errors]


def good_arguments(case):
    variant = next((v for v in case.variants if v.kind == "target"), case.variants[0])
    return case.arguments(variant, case.small, torch.float32)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_good_call_is_good(case):
    assert case.function(**good_arguments(case)).isfinite().all()


@pytest.mark.parametrize(("case", "error"), ERRORS, ids=str)
def test_error(case, error):
    arguments = error.change(good_arguments(case))
    with pytest.raises(error.exception, match=rf"^{case.name}: .*\b{error.mentions}\b"):
        case.function(**arguments)


@pytest.mark.parametrize(("case", "error"), ERRORS, ids=str)
def test_error_with_gradients(case, error):
    """The same with an operand that requires grad: another path through autograd."""
    arguments = good_arguments(case)
    arguments[case.operands[0]].requires_grad_()
    arguments = error.change(arguments)
    with pytest.raises(error.exception, match=rf"^{case.name}: .*\b{error.mentions}\b"):
        case.function(**arguments)


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_other_dtypes_name_what_is_supported(case, dtype):
    arguments = good_arguments(case)
    first = case.operands[0]
    for name in case.operands:
        arguments[name] = arguments[name].to(dtype)
    with pytest.raises(
        TypeError, match=rf"^{case.name}: {first}\b.*float32, float64, bfloat16.*float16"
    ):
        case.function(**arguments)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_unknown_keyword(case):
    with pytest.raises(TypeError, match="temprature"):
        case.function(**good_arguments(case), temprature=0.1)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_options_are_keyword_only(case):
    arguments = good_arguments(case)
    parameters = inspect.signature(case.function).parameters
    positional = [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
    with pytest.raises(TypeError, match="positional"):
        case.function(*(arguments.get(name) for name in positional), None)


WRONG_OPTIONS = {
    "sigma": 0.0,
    "ties": "both",
    "pair_weight": "label",
    "method": "fast",
    "log_base": 1.0,
    "power": 3,
    "target": "top1",
    "label_temperature": 0.0,
    "gain": "exp",
    "similarity": "cos",
    "temperature": -1.0,
    "init_logit_scale": 0.0,
    "max_logit_scale": -1.0,
    "ignore_index": 1.5,
    "label_smoothing": 2.0,
    "margin": torch.inf,
    "reduction": "avg",
}


@pytest.mark.parametrize("case", [case for case in CASES if case.module is not None], ids=str)
def test_module_errors_come_early(case):
    """A wrong option raises in the constructor or at the first call, naming itself."""
    arguments = {k: v for k, v in good_arguments(case).items() if isinstance(v, torch.Tensor)}
    for option in WRONG_OPTIONS.keys() & inspect.signature(case.module_type).parameters.keys():
        with pytest.raises((ValueError, TypeError), match=option):
            case.module_type(**{option: WRONG_OPTIONS[option]})(**arguments)
