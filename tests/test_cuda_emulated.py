"""The losses with CUDA kernels on an emulated device, held against the references like those on the
CPU (16-bit gradients: DeviceJudge)."""

from __future__ import annotations

import json
import re
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

import cuda_binaries
import fastloss
from accuracy import DTYPES, HALVES, Judge, assert_close
from case import generator, run
from emulator import build
from on_cuda import EDGES, ON_CUDA, VARIANTS, DeviceJudge, gradients_are_judged

sys.path.insert(0, str(Path(__file__).parent / "emulator"))
import extension

pytestmark = pytest.mark.deep  # the module is compiled for minutes
DOTS = [(case, variant) for case, variant in VARIANTS if variant.name.startswith("dot")]


@pytest.fixture(scope="module")
def emulated():
    return extension.module()


@pytest.fixture(autouse=True)
def _on_device(emulated):
    with extension.on_emulated_device(emulated):
        yield
    emulated.set_cuda_engine("auto")


@pytest.fixture
def _tf32():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def judge(case, variant, size, reduction, **options):
    return DeviceJudge(
        case, lambda dtype: case.arguments(variant, size, dtype, reduction=reduction), **options
    )


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_every_variant(case, variant, reduction):
    judged = judge(case, variant, case.sizes[0], reduction)
    judged.accept(case.function)
    judged.accept_loss(case.function)


@pytest.mark.parametrize("engine", ["library", "mma"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_16_bits(case, variant, reduction, engine, emulated):
    emulated.set_cuda_engine(engine)
    for size in (case.sizes[0], case.sizes[1].resized(d=34)):
        judge(case, variant, size, reduction, dtypes=HALVES).accept(case.function)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), DOTS, ids=str)
@pytest.mark.usefixtures("_tf32")
def test_tf32(case, variant, reduction, emulated):
    """On operands that tf32 holds exactly its products are those of float32."""
    emulated.set_cuda_engine("mma")

    def arguments(dtype):
        result = case.arguments(variant, case.sizes[0], dtype, reduction=reduction)
        rows = {k: v for k, v in result.items() if isinstance(v, torch.Tensor) and v.dim() == 2}
        return result | {name: value.bfloat16().to(value) for name, value in rows.items()}

    Judge(case, arguments, dtypes=(torch.float32,)).accept(case.function)


@pytest.mark.parametrize(("precision", "tiles"), [("tf32", True), ("ieee", False)])
def test_tf32_by_the_newer_switch(precision, tiles, emulated):
    """Once it was set, torch refuses to read the older one."""
    emulated.set_cuda_engine("mma")
    emulated.forget_launched()
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = precision
    try:
        fastloss.info_nce(*torch.randn(2, 5, 4, generator=generator(0)))
    finally:
        matmul.fp32_precision = before
    names = build.names_by_place(extension.library())
    launched = {cuda_binaries.readable(names[place]) for place in emulated.launched()}
    assert launched
    assert any("mma::" in kernel for kernel in launched) == tiles


def long_size(case):
    """More columns than a warp takes; as many rows only if they must be."""
    square = all(size.n == size.m for size in case.sizes)
    return case.small.resized(n=1030 if square else 3, m=1030, d=4)


@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_long_rows(case):
    for variant in case.few_variants:
        for dtypes in (DTYPES, HALVES):
            judge(case, variant, long_size(case), "mean", dtypes=dtypes).accept(case.function)


@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_every_size(case):
    """In the default workspace, and in one that cuts rows and columns."""
    for size in case.sizes:
        terms = 1.0 if size.is_trivial else 0.0
        for variant in case.few_variants:
            for workspace in (1 << 26, 1 << 14):
                for reduction in ("sum", "none"):
                    with fastloss.workspace_limit(workspace):
                        judge(case, variant, size, reduction, terms=terms).accept(case.function)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "edge"), EDGES, ids=str)
def test_edge(case, edge, reduction):
    judged = Judge(
        case, lambda dtype: case.reduced(edge.arguments(dtype), reduction), terms=edge.terms
    )
    judged.accept_loss(case.function)
    for dtype in DTYPES:
        result = run(case.function, judged.arguments[dtype], judged.wrt)
        if not gradients_are_judged(case, edge):
            result.gradients.clear()
        judged.accept_result(result, dtype)


@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_a_nan_poisons_its_own_row_only(case):
    arguments = case.arguments(case.variants[0], case.small, reduction="none")
    clean = run(case.function, arguments).loss
    arguments[case.operands[0]][1, 0] = torch.nan
    rows = run(case.function, arguments).loss
    keep = torch.arange(len(rows)) != 1
    assert rows[1].isnan()
    if case.rows_are_independent:
        assert torch.equal(rows[keep], clean[keep])


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_the_same_bits_whatever_the_order_of_threads(case, order, emulated):
    arguments = case.arguments(case.variants[0], case.small, torch.float32)
    names = case.may_require_grad(arguments)
    results = []
    for seed in (0, order):
        emulated.seed(seed)
        results.append(run(case.function, arguments, names))
    assert torch.equal(results[0].loss, results[1].loss)
    for name in names:
        assert torch.equal(results[0].gradients[name], results[1].gradients[name])


def is_unreachable(kernel):
    """linear_cross_entropy has dot products alone, without a scale: neither float coefficients of
    16-bit rows, as distances want them, nor sums of rows."""
    of_distances = r"coefficients<\d+, float, .*, B?Float16, float>$"
    of_tiles = r"mma::tile_coefficients<B?Float16, float, "
    return "LinearCrossEntropy" in kernel and (
        "RowSums<" in kernel or re.match(f"{of_distances}|{of_tiles}", kernel) is not None
    )


@pytest.mark.usefixtures("_tf32")
def test_every_kernel_is_launched(emulated):
    """All instantiations that nvcc makes (cuda_budget.json). Results are judged in other tests."""

    def launch(case, arguments):
        run(case.function, arguments)
        run(case.function, arguments, case.may_require_grad(arguments))

    emulated.forget_launched()
    for case, variant in VARIANTS:
        for dtype in (*DTYPES, *HALVES):
            for engine, reduction in product(("library", "mma"), ("mean", "none")):
                emulated.set_cuda_engine(engine)
                launch(case, case.arguments(variant, case.small, dtype, reduction=reduction))
            emulated.set_cuda_engine("library")
            if variant in case.few_variants:
                launch(case, case.arguments(variant, long_size(case), dtype))
    for (case, edge), dtype in product(EDGES, DTYPES):  # no rows, no keys
        launch(case, edge.arguments(dtype))
    for dtype in DTYPES:  # rows that meet nothing
        rows, none = torch.ones(2, 3, dtype=dtype), torch.ones(0, 3, dtype=dtype)
        target, temperature = torch.full((2,), -100), torch.tensor(0.5)
        call = {"input": rows, "linear_weight": none, "target": target}
        run(fastloss.linear_cross_entropy, call, ("input",))
        call = {"query": rows, "key": none, "target": target, "temperature": temperature}
        run(fastloss.info_nce, call, ("query", "temperature"))
    listed = json.loads(cuda_binaries.BUDGET.read_text(encoding="utf-8"))["kernels"].values()
    kernels = {kernel for of_file in listed for kernel in of_file}
    names = build.names_by_place(extension.library())
    launched = {cuda_binaries.readable(names[place]) for place in emulated.launched()}
    assert launched == {kernel for kernel in kernels if not is_unreachable(kernel)}


def test_what_the_cpu_refuses_is_nan():
    """Reading a value would wait for the device: nothing is read out of range, and it shows."""
    query, key = (torch.randn(n, 3, generator=generator(n)) for n in (5, 7))
    target = torch.tensor([0, 1, 7, 2, -1])
    rows = fastloss.info_nce(query, key, target=target, reduction="none")
    assert torch.equal(rows.isnan(), torch.tensor([False, False, True, False, True]))
    assert fastloss.info_nce(query, key, target=target).isnan()
    assert fastloss.info_nce(query, key[:0], target=target).isnan()
    weights = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0])
    rows = fastloss.info_nce(query, key, weights=weights, reduction="none")
    assert torch.equal(rows.isnan(), weights < 0)
    assert fastloss.info_nce(query, key, temperature=torch.tensor(-1.0)).isnan()
    ignoring = torch.tensor([0, -100, 3, 8, 6])
    rows = fastloss.linear_cross_entropy(query, key, ignoring, reduction="none")
    assert torch.equal(rows.isnan(), ignoring == 8)
    assert rows[1] == 0
    labels = torch.tensor([0, 0, 1, 1, 1])
    rows = fastloss.sup_con(query, labels, weights=weights, reduction="none")
    assert torch.equal(rows.isnan(), weights < 0)


def test_an_ignored_row_may_hold_anything():
    query = torch.randn(4, 3, generator=generator(0))
    key = torch.randn(6, 3, generator=generator(1))
    target = torch.tensor([2, -100, 5, 0])
    results = []
    for value in (0.0, torch.nan):
        query[1] = value
        leaves = {"input": query, "linear_weight": key, "target": target}
        results.append(run(fastloss.linear_cross_entropy, leaves, ("input", "linear_weight")))
    assert_close(results[1].loss, results[0].loss)
    for name in ("input", "linear_weight"):
        assert torch.equal(results[1].gradients[name], results[0].gradients[name])
    assert not results[1].gradients["input"][1].any()
    # Smoothed, a class without a valid weight belongs to all rows that exist.
    leaves |= {"weight": torch.tensor([1.0, -1, 1, 1, 1, 1]), "label_smoothing": 0.1}
    gradient = run(fastloss.linear_cross_entropy, leaves, ("input",)).gradients["input"]
    assert torch.equal(gradient.isnan().all(1), target >= 0)
    assert not gradient[1].any()
