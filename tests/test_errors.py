"""Each wrong argument raises the right exception, whose message names it."""

import pytest
import torch

from cases import CASES

ERRORS = [(case, error) for case in CASES for error in case.errors]


def good_arguments(case):
    variant = next(v for v in case.variants if v.name.endswith("target"))
    return case.arguments(variant, case.small, torch.float32)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_good_call_is_good(case):
    assert case.function(**good_arguments(case)).isfinite()


@pytest.mark.parametrize(("case", "error"), ERRORS, ids=str)
def test_error(case, error):
    arguments = error.change(good_arguments(case))
    with pytest.raises(error.exception, match=rf"^{case.name}: .*\b{error.mentions}\b"):
        case.function(**arguments)


@pytest.mark.parametrize(("case", "error"), ERRORS, ids=str)
def test_error_with_gradients(case, error):
    """The same with a query that requires grad: another path through autograd."""
    arguments = good_arguments(case)
    arguments["query"].requires_grad_()
    arguments = error.change(arguments)
    with pytest.raises(error.exception, match=rf"^{case.name}: .*\b{error.mentions}\b"):
        case.function(**arguments)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_half_inputs_name_what_is_supported(case, dtype):
    arguments = good_arguments(case)
    first = case.required[0]
    for name in case.required:
        arguments[name] = arguments[name].to(dtype)
    with pytest.raises(TypeError, match=rf"^{case.name}: .*\b{first}\b.*float32.*float64"):
        case.function(**arguments)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_unknown_keyword(case):
    with pytest.raises(TypeError, match="temprature"):
        case.function(**good_arguments(case), temprature=0.1)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_options_are_keyword_only(case):
    arguments = good_arguments(case)
    with pytest.raises(TypeError, match="positional"):
        case.function(arguments["query"], arguments["key"], arguments["target"], None)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_module_errors_come_early(case):
    """A wrong option raises in the constructor or at the first call, naming itself."""
    arguments = {k: v for k, v in good_arguments(case).items() if isinstance(v, torch.Tensor)}
    for option, value in [("similarity", "cos"), ("temperature", -1.0), ("reduction", "avg")]:
        with pytest.raises(ValueError, match=option):
            case.module_type(**{option: value})(**arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_cuda_without_a_cuda_build(case):
    """Nothing falls back silently: the message tells how to rebuild."""
    arguments = {
        k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in good_arguments(case).items()
    }
    with pytest.raises(RuntimeError, match=r"CUDA.*(re)?build"):
        case.function(**arguments)
