"""Any combination of argument types: the reference's value, or an error that names an argument.

Never a crash, a silent broadcast or another value.
"""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accuracy import DTYPES, HALVES, computed_in
from case import generator, run, to_dtype
from cases import CASES, PAIRWISE

FLOATS = (*DTYPES, *HALVES)
ANY_DTYPES = (*FLOATS, torch.int64, torch.int32, torch.bool)
WRONG_OPTIONS = (
    None,
    "",
    "mean",
    -1,
    0,
    2.5,
    float("nan"),
    float("inf"),
    True,
    (),
    [1.0],
    object(),
)


def strided(draw, tensor, may_repeat):
    """The same values behind other strides, or its first row again and again."""
    layouts = ["same", "same", "step", "transposed", "wide", "expanded"]
    layout = draw(st.sampled_from(layouts if may_repeat else layouts[:-1]))
    if layout == "step" and tensor.dim():
        return tensor.repeat_interleave(2, dim=0)[::2]
    if layout == "transposed" and tensor.dim() >= 2:
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "wide" and tensor.dim():
        return torch.cat([tensor, tensor + tensor], dim=-1)[..., : tensor.shape[-1]]
    if layout == "expanded" and tensor.dim() and tensor.shape[0]:
        return tensor[:1].expand(tensor.shape)
    return tensor


def mangled(draw, name, value):
    """Sometimes the value is right, sometimes its shape, dtype or type is not."""
    if not isinstance(value, torch.Tensor):
        return draw(st.sampled_from(WRONG_OPTIONS))
    kind = draw(st.sampled_from(["shape", "dtype", "type", "column", "row", "extra"]))
    if kind == "shape":
        shape = [max(0, size + draw(st.integers(-1, 1))) for size in value.shape]
        return torch.zeros(shape, dtype=value.dtype)
    if kind == "dtype":
        return value.to(draw(st.sampled_from(ANY_DTYPES)))
    if kind == "column":
        return value[..., None]
    if kind == "row" and value.dim():
        return value[:1]
    if kind == "extra":
        return value[None]
    return draw(st.sampled_from((None, 1.0, value.tolist(), "x")))


@st.composite
def calls(draw, mangle):
    case = draw(st.sampled_from(CASES))
    variant = draw(st.sampled_from(case.variants))
    n = draw(st.integers(0, 5))
    size = case.small.resized(
        n=n,
        m=n + draw(st.integers(n == 0, 4)),
        d=draw(st.integers(1, 6)),
        h=draw(st.integers(0, 3)),
    )
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    dtype = draw(st.sampled_from(FLOATS))
    seed = draw(st.integers(0, 1000))
    arguments = case.arguments(variant, size, dtype, seed, reduction=reduction)
    arguments = {
        name: strided(draw, value, name not in case.coupled)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in arguments.items()
    }
    for _ in range(draw(st.integers(1, 2)) if mangle else 0):
        name = draw(st.sampled_from(sorted(arguments)))
        arguments[name] = mangled(draw, name, arguments[name])
    return case, arguments


def check_value(case, arguments, result):
    expected = run(case.reference, to_dtype(arguments, torch.float64)).loss
    assert result.shape == expected.shape
    assert result.dtype == computed_in(arguments[case.operands[0]].dtype)
    tolerance = 1e-9 if result.dtype == torch.float64 else 2e-2
    torch.testing.assert_close(
        result.double(), expected, rtol=tolerance, atol=tolerance, equal_nan=True
    )


def result_or_error(case, arguments):
    """(result, None), or (None, the message of an error of the documented kinds)."""
    try:
        return case.function(**arguments), None
    except (ValueError, TypeError, NotImplementedError) as error:
        return None, str(error)


@settings(max_examples=300)
@given(calls(mangle=False))
def test_good_calls_have_the_right_value(call):
    case, arguments = call
    names = case.may_require_grad(arguments)
    check_value(case, arguments, run(case.function, arguments, names).loss)


@settings(max_examples=600)
@given(calls(mangle=True))
def test_mangled_calls_raise_or_have_the_right_value(call):
    case, arguments = call
    result, error = result_or_error(case, arguments)
    if error is None:
        check_value(case, arguments, result)
    else:
        assert error.startswith(f"{case.name}: "), error
        assert any(name in error for name in arguments), error


@settings(max_examples=60)
@given(st.data())
def test_wrong_options_raise(data):
    """Every option with every wrong value: an error or, where 0 or True are fine, a value."""
    case = data.draw(st.sampled_from(CASES))
    variant = data.draw(st.sampled_from(case.variants))
    arguments = case.arguments(variant, case.small)
    parameters = inspect.signature(case.function).parameters
    options = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    name = data.draw(st.sampled_from(options))
    arguments[name] = data.draw(st.sampled_from(WRONG_OPTIONS))
    _, error = result_or_error(case, arguments)
    if error is not None:
        assert error.startswith(f"{case.name}: "), error
        assert name in error or "label_smoothing" in error, error


@pytest.mark.parametrize("case", PAIRWISE, ids=str)
def test_no_features(case):
    """d = 0 is an error or a loss of finite values, never a crash."""
    size = case.small.resized(d=0)
    arguments = case.draw(generator(0), torch.float32, size)
    arguments = {name: arguments[name] for name in case.required}
    result, error = result_or_error(case, arguments)
    assert result.isfinite().all() if error is None else error.startswith(f"{case.name}: ")
