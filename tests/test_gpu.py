"""The losses on a CUDA device: the same cases, judged as on the CPU, and what only a device has.

Skipped without a device, and in a build without CUDA kernels.
"""

import contextlib
import warnings

import pytest
import torch

import fastloss
from accuracy import HALVES, assert_close
from case import Result, as_leaves, generator, random_upstream, run
from fastloss import _cuda
from on_cuda import EDGES, ON_CUDA, VARIANTS, DeviceJudge, gradients_are_judged

if not torch.cuda.is_available():
    REASON = "no CUDA device"
elif not _cuda.BUILT:
    REASON = "this build has no CUDA kernels"
else:
    REASON = ""
if REASON:
    pytest.skip(REASON, allow_module_level=True)  # thousands of tests in one line
pytestmark = pytest.mark.gpu

FEW = [(case, variant) for case in ON_CUDA for variant in case.few_variants]
REDUCTIONS = ("mean", "none")
DTYPES = (torch.float32, torch.float64, *HALVES)
both_engines = pytest.mark.parametrize("engine", ["library", "mma"])
# Of a type that the engine's own kernels take: by default they leave float32 to the library.
both_paths = pytest.mark.parametrize(
    ("engine", "dtype"), [("library", torch.float32), ("mma", torch.bfloat16)]
)


def moved(arguments, device="cuda"):
    """The same call on a device; what is one tensor stays one."""
    found = {}
    for value in arguments.values():
        if isinstance(value, torch.Tensor):
            found.setdefault(id(value), value.to(device))
    return {name: found.get(id(value), value) for name, value in arguments.items()}


def on_cuda(case):
    """The loss as a function of tensors on the CPU, calculated on the device."""
    return lambda **arguments: case.function(**moved(arguments)).cpu()


def cuda_leaves(case, arguments):
    names = case.may_require_grad(arguments)
    leaves = as_leaves(moved(arguments), names)
    return leaves, [leaves[name] for name in names]


def forward_and_backward(case, leaves, inputs, upstream):
    loss = case.function(**leaves)
    return [loss.detach(), *torch.autograd.grad(loss, inputs, upstream)]


def assert_same_bits(first, second):
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


# ----------------------------------------------------------------------------------------- values


@both_engines
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("size_index", [0, 1], ids=["ragged", "wide"])
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_every_variant(case, variant, size_index, reduction, engine):
    def make(dtype):
        return case.arguments(variant, case.sizes[size_index], dtype, reduction=reduction)

    judge = DeviceJudge(case, make, dtypes=DTYPES)
    with fastloss.cuda_engine(engine):
        judge.accept(on_cuda(case))
        judge.accept_loss(on_cuda(case))


@both_engines
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("case", "variant"), FEW, ids=str)
def test_several_tiles_and_chunks(case, variant, reduction, engine):
    """Rows and columns in ragged tiles, and chunks of scores as small as they get."""
    size = case.sizes[0].resized(n=517, m=771, d=67)
    judge = DeviceJudge(
        case, lambda dtype: case.arguments(variant, size, dtype, reduction=reduction), dtypes=DTYPES
    )
    for limit in (1, 1 << 20, 64 << 20):
        with fastloss.cuda_engine(engine), fastloss.workspace_limit(limit):
            judge.accept(on_cuda(case))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("case", "edge"), EDGES, ids=str)
def test_edge(case, edge, reduction):
    judge = DeviceJudge(
        case, lambda dtype: case.reduced(edge.arguments(dtype), reduction), terms=edge.terms
    )
    judge.accept_loss(on_cuda(case))
    for dtype, arguments in judge.arguments.items():
        result = run(on_cuda(case), arguments, judge.wrt)
        gradients = result.gradients if gradients_are_judged(case, edge) else {}
        judge.accept_result(Result(result.loss, gradients), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_more_than_2_to_the_31_scores(dtype):
    """Offsets have 64 bits: the last row's loss is right."""
    n, m, d = 50_000, 43_000, 16
    key = torch.randn(m, d, generator=generator(1)).to("cuda", dtype)
    query = torch.randn(n, d, generator=generator(2)).to("cuda", dtype)
    target = torch.randint(m, (n,), generator=generator(3)).cuda()
    loss = fastloss.info_nce(query, key, target=target, similarity="dot", reduction="none")
    exact = fastloss.reference.info_nce(
        query[-1:].double(), key.double(), target=target[-1:], similarity="dot", reduction="none"
    )
    torch.testing.assert_close(loss[-1:].double(), exact, rtol=2e-6, atol=0)


def test_values_that_only_the_device_reads():
    """A target out of range or a negative weight cannot raise there: its rows are NaN."""
    query, key = (torch.randn(5, 4, generator=generator(s)).cuda() for s in (1, 2))
    target = torch.tensor([0, 1, 5, -3, 2], device="cuda")
    loss = fastloss.info_nce(query, key, target=target, reduction="none")
    assert loss.isnan().tolist() == [False, False, True, True, False]
    weights = torch.tensor([1.0, -1.0, 2.0, 0.0, 1.0], device="cuda")
    loss = fastloss.info_nce(query, key, weights=weights, reduction="none")
    assert loss.isnan().tolist() == [False, True, False, False, False]


# ------------------------------------------------------------------------------- of a device only


@both_engines
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("case", "variant"), FEW, ids=str)
def test_same_bits_run_to_run(case, variant, reduction, engine):
    size = case.sizes[0].resized(n=700, m=1900)
    for dtype in (torch.float32, torch.bfloat16):
        arguments = case.arguments(variant, size, dtype, reduction=reduction)
        leaves, inputs = cuda_leaves(case, arguments)
        with fastloss.cuda_engine(engine), fastloss.workspace_limit(1 << 20):
            upstream = random_upstream(case.function(**leaves).detach().cpu()).cuda()
            first = forward_and_backward(case, leaves, inputs, upstream)
            for _ in range(5):
                assert_same_bits(first, forward_and_backward(case, leaves, inputs, upstream))


@both_paths
@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_nothing_waits_for_the_device(case, engine, dtype):
    """No pass reads a value of the device, which would stop it and forbid capture."""
    arguments = case.arguments(case.variants[0], case.sizes[0], dtype)
    leaves, inputs = cuda_leaves(case, arguments)
    upstream = torch.ones_like(case.function(**leaves).detach())
    with fastloss.cuda_engine(engine), no_synchronisation():
        forward_and_backward(case, leaves, inputs, upstream)


@contextlib.contextmanager
def no_synchronisation():
    def set_mode(mode):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is a prototype
            torch.cuda.set_sync_debug_mode(mode)

    set_mode("error")
    try:
        yield
    finally:
        set_mode("default")


@both_paths
@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_another_stream(case, engine, dtype):
    """Operands that are made late, on a stream of their own: the kernels follow there."""
    arguments = case.arguments(case.variants[0], case.sizes[0], dtype)
    leaves, inputs = cuda_leaves(case, arguments)
    upstream = torch.ones_like(case.function(**leaves).detach())
    with fastloss.cuda_engine(engine):
        expected = forward_and_backward(case, leaves, inputs, upstream)
    stream = torch.cuda.Stream()
    late = {name: torch.zeros_like(leaves[name]) for name in case.operands if name in leaves}
    torch.cuda.synchronize()
    with fastloss.cuda_engine(engine), torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # cycles: a tenth of a second
        for name, value in late.items():
            value.copy_(leaves[name].detach())
            value.requires_grad_()
        again = leaves | late
        names = case.may_require_grad(arguments)
        result = forward_and_backward(case, again, [again[name] for name in names], upstream)
    stream.synchronize()
    assert_same_bits(expected, result)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_second_device(case):
    """Not the current one: kernels, memory and results are there."""
    arguments = case.arguments(case.variants[0], case.sizes[0], torch.float32)
    expected = run(on_cuda(case), arguments, case.may_require_grad(arguments))
    names = case.may_require_grad(arguments)
    leaves = as_leaves(moved(arguments, "cuda:1"), names)
    loss = case.function(**leaves)
    assert loss.device == torch.device("cuda", 1)
    assert torch.cuda.current_device() == 0
    gradients = torch.autograd.grad(
        loss, [leaves[n] for n in names], random_upstream(loss.cpu()).to(loss)
    )
    assert_close(loss.cpu(), expected.loss)
    for name, gradient in zip(names, gradients, strict=True):
        assert_close(gradient.cpu(), expected.gradients[name], name)


@both_paths
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("case", "variant"), FEW, ids=str)
def test_peak_bytes(case, variant, reduction, engine, dtype):
    """The bound of the CPU, a copy of the operands (docs/cuda.md), and a MiB for the rounding of
    each allocation."""
    if case.memory_bound is None:
        pytest.skip("no bound is documented")
    arguments = case.arguments(variant, case.large, dtype, reduction=reduction)
    leaves, inputs = cuda_leaves(case, arguments)
    names = case.may_require_grad(arguments)
    upstream = torch.ones_like(case.function(**leaves).detach())
    copies = sum(4 * arguments[name].numel() for name in case.operands if name in arguments)
    for limit in (1 << 20, 4 << 20):
        with fastloss.cuda_engine(engine), fastloss.workspace_limit(limit):
            forward_and_backward(case, leaves, inputs, upstream)  # the library's own workspace
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            forward_and_backward(case, leaves, inputs, upstream)
            peak = torch.cuda.max_memory_allocated() - before
        assert 0 < peak <= limit + case.memory_bound(arguments, names) + copies + (1 << 20)


@both_paths
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_captured_in_a_graph(case, reduction, engine, dtype):
    """Replayed with other values in the same tensors: the bits of an ordinary call."""
    first, second = (
        case.arguments(case.variants[0], case.sizes[0], dtype, seed, reduction=reduction)
        for seed in (1, 2)
    )
    leaves, inputs = cuda_leaves(case, first)
    with fastloss.cuda_engine(engine):
        upstream = torch.ones_like(case.function(**leaves).detach())
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            forward_and_backward(case, leaves, inputs, upstream)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = forward_and_backward(case, leaves, inputs, upstream)
        others = moved(second)
        with torch.no_grad():
            for name, value in leaves.items():
                if isinstance(value, torch.Tensor):
                    value.copy_(others[name])
        graph.replay()
        expected = forward_and_backward(case, leaves, inputs, upstream)
    assert_same_bits(captured, expected)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_autocast(case, dtype):
    """Operands are cast as torch.matmul casts them: the bits of a call with them cast before."""
    if not case.follows_autocast:
        pytest.skip("operands are kept as they are")
    arguments = case.arguments(case.variants[0], case.sizes[0], torch.float32)
    names = case.may_require_grad(arguments)
    leaves = as_leaves(moved(arguments), names)
    with torch.autocast("cuda", dtype=dtype):
        loss = case.function(**leaves)
    gradients = torch.autograd.grad(loss.sum(), [leaves[name] for name in names])
    cast = {n: leaves[n].to(dtype) if n in case.operands else v for n, v in leaves.items()}
    expected = case.function(**cast)
    wanted = torch.autograd.grad(expected.sum(), [leaves[name] for name in names])
    assert_same_bits([loss.detach(), *gradients], [expected.detach(), *wanted])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler itself
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_compiled(case, reduction):
    torch._dynamo.reset()
    arguments = case.arguments(case.variants[0], case.small, torch.float32, reduction=reduction)
    leaves, inputs = cuda_leaves(case, arguments)
    upstream = torch.ones_like(case.function(**leaves).detach())
    expected = forward_and_backward(case, leaves, inputs, upstream)
    compiled = torch.compile(case.function, fullgraph=True, backend="aot_eager")
    loss = compiled(**leaves)
    result = [loss.detach(), *torch.autograd.grad(loss, inputs, upstream)]
    assert_same_bits(expected, result)


@both_engines
def test_tf32_is_taken_only_if_torch_may(engine):
    """float32 is multiplied in full, unless torch.set_float32_matmul_precision says otherwise."""
    query, key = (torch.randn(256, 512, generator=generator(s)).cuda() for s in (1, 2))
    exact = fastloss.reference.pairwise_logsumexp(query.double(), key.double(), similarity="dot")

    def error():
        loss = fastloss.pairwise_logsumexp(query, key, similarity="dot")
        return ((loss - exact).abs().max() / exact.abs().max()).item()

    before = torch.get_float32_matmul_precision()
    try:
        with fastloss.cuda_engine(engine):
            torch.set_float32_matmul_precision("highest")
            assert error() < 1e-6
            torch.set_float32_matmul_precision("high")
            assert error() < 3e-3
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(torch.cuda.get_device_capability() >= (8, 0), reason="capability 8.0 or later")
def test_older_devices_are_refused():
    query = torch.randn(4, 4, device="cuda", dtype=torch.bfloat16)
    with (
        fastloss.cuda_engine("mma"),
        pytest.raises((RuntimeError, ValueError), match=r"capability 8\.0"),
    ):
        fastloss.info_nce(query, query)
