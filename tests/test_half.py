"""bfloat16 and float16 operands: multiplied unrounded, calculated with in float32, rounded once."""

from contextlib import contextmanager

import pytest
import torch

import fastloss
from accuracy import HALVES, Judge, assert_close, assert_within, storage_unit
from case import as_leaves, generator, run, to_dtype
from cases import CASES

KINDS = ("plain", "sharp", "smoothing all", "ignoring all", "ids all", "all", "dim 0 all")
VARIANTS = [(c, v) for c in CASES for v in c.variants if v.kind in KINDS]
PLAIN = [(c, v) for c in CASES for v in c.variants if v.kind == "plain"]
PRODUCTS = [(c, v) for c, v in PLAIN if c.is_pairwise]


@contextmanager
def bfloat16_products(on):
    before = fastloss.build_info()["bfloat16_products"]
    fastloss._C.set_bfloat16_products(on)
    try:
        yield
    finally:
        fastloss._C.set_bfloat16_products(before)


def judge(case, variant, size, reduction, dtypes=HALVES):
    def make(dtype):
        return case.arguments(variant, size, dtype, reduction=reduction)

    return Judge(case, make, dtypes=dtypes)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_within_the_budget_of_float32(case, variant, reduction):
    """Odd and even numbers of features: bfloat16 is multiplied in pairs of them, or converted."""
    for size in (case.sizes[0], case.sizes[1].resized(d=34)):
        judged = judge(case, variant, size, reduction)
        judged.accept(case.function)
        judged.accept_loss(case.function)


@pytest.mark.parametrize(("case", "variant"), PRODUCTS, ids=str)
def test_products_of_bfloat16_and_converted_ones(case, variant):
    judged = judge(case, variant, case.sizes[0].resized(d=34), "mean", (torch.bfloat16,))
    for on in (False, True):
        with bfloat16_products(on):
            judged.accept(case.function)


@pytest.mark.parametrize(("case", "variant"), PLAIN, ids=str)
def test_rows_that_start_between_words(case, variant):
    """A view at an odd offset: pairs of numbers are no aligned words there."""
    arguments = case.arguments(variant, case.small.resized(d=6), torch.bfloat16, reduction="none")
    expected = run(case.function, arguments).loss
    for name in case.operands:
        value = arguments[name]
        room = torch.empty(value.numel() + 1, dtype=value.dtype)
        room[1:] = value.flatten()
        shifted = room[1:].view(value.shape)
        assert shifted.data_ptr() % 4 == 2
        assert_close(run(case.function, arguments | {name: shifted}).loss, expected)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dtypes_of_results(case, dtype):
    for reduction in ("mean", "none"):
        arguments = case.arguments(case.variants[0], case.small, dtype, reduction=reduction)
        names = case.may_require_grad(arguments)
        result = run(case.function, arguments, names)
        assert result.loss.dtype == torch.float32
        for name in names:
            assert result.gradients[name].dtype == arguments[name].dtype, name


def test_float16_extremes():
    """Products of the largest float16 leave its range, not float32's; the smallest are kept."""
    largest, smallest = 65504.0, 2.0**-24
    for value in (largest, smallest):
        query = torch.full((3, 64), value, dtype=torch.float16)
        key = query * torch.tensor([1.0, -1.0, 0.5], dtype=torch.float16)[:, None]
        for similarity in ("dot", "cosine"):
            arguments = {"query": query, "key": key, "similarity": similarity}
            exact = run(fastloss.reference.info_nce, to_dtype(arguments, torch.float64)).loss
            assert_close(run(fastloss.info_nce, arguments).loss, exact.float())


TRAINED = {
    # A trained batch: every query lies near its key, most gradients are tiny.
    "info_nce": lambda a, b: {"query": a, "key": b, "temperature": 0.05},
    "clip_loss": lambda a, b: {"image": a, "text": b, "logit_scale": 20.0},
    "siglip_loss": lambda a, b: {
        "image": a,
        "text": b,
        "logit_scale": 58.0,
        "logit_bias": -40.0,
    },
    "in_batch_bpr_loss": lambda a, b: {"query": a, "key": b, "temperature": 0.1},
    "linear_cross_entropy": lambda a, b: {
        "input": 20 * a,
        "linear_weight": b,
        "target": torch.arange(len(a)),
    },
}


@pytest.mark.parametrize("name", TRAINED)
def test_grad_scaler_finds_no_zeros(name):
    """The scaler's factor is applied in float32, before the gradient is rounded to float16."""
    case = next(case for case in CASES if case.name == name)
    n, d, factor = 512, 64, 65_536.0
    key = torch.nn.functional.normalize(torch.randn(n, d, generator=generator(1)))
    query = torch.nn.functional.normalize(key + 0.05 * torch.randn(n, d, generator=generator(2)))
    arguments = TRAINED[name](query, key)
    arguments = {
        k: v.half() if isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for k, v in arguments.items()
    }
    scaled = torch.tensor(factor)
    exact = run(case.reference, to_dtype(arguments, torch.float64), case.operands, scaled)
    ours = run(case.function, arguments, case.operands, scaled)
    for operand in case.operands:
        expected, gradient = exact.gradients[operand], ours.gradients[operand]
        rounded_first = (expected / factor).half().double() * factor
        assert (rounded_first == 0).double().mean() > 0.05, "too easy: nothing would be lost"
        assert (gradient == 0).double().mean() < 0.01
        allowed = 1e-5 * expected.abs().max().item()
        assert_within(gradient, expected, allowed, operand, storage_unit(expected, torch.float16))


def test_grad_scaler_trains():
    """torch's own scaler over a float16 model: unscaled gradients are those of float32."""
    query, key = torch.randn(2, 64, 16, generator=generator(5))
    half = query.half().requires_grad_()
    scaler = torch.amp.GradScaler("cpu", init_scale=65_536.0)
    loss = fastloss.info_nce(half, key.half(), temperature=0.2)
    scaler.scale(loss).backward()
    full = query.half().float().requires_grad_()
    fastloss.info_nce(full, key.half().float(), temperature=0.2).backward()
    assert_within(
        half.grad.double() / 65_536, full.grad.double(), 1e-6, "query",
        storage_unit(full.grad, torch.float16),
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_autocast(case):
    """float32 operands are cast as torch.matmul casts them, or all is as without autocast;
    gradients come back in float32."""
    arguments = case.arguments(case.variants[0], case.small, torch.float32)
    cast = {name: arguments[name].bfloat16() for name in case.operands if case.follows_autocast}
    expected = run(case.function, arguments | cast, case.operands)
    leaves = as_leaves(arguments, case.operands)
    with torch.autocast("cpu", torch.bfloat16):
        loss = case.function(**leaves)
    assert loss.dtype == torch.float32
    assert torch.equal(loss.detach(), expected.loss)
    upstream = torch.ones_like(loss)
    gradients = torch.autograd.grad(loss, [leaves[name] for name in case.operands], upstream)
    ours = run(case.function, arguments | cast, case.operands, upstream).gradients
    for name, gradient in zip(case.operands, gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert torch.equal(gradient, ours[name].float()), name

    double = case.arguments(case.variants[0], case.small, torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        loss = case.function(**double)
    assert torch.equal(loss, case.function(**double))  # as torch.matmul: float64 stays
