"""Peak and saved bytes within the documented bound, and matrix products counted."""

import multiprocessing

import pytest
import torch

import fastloss
from case import as_leaves, random_upstream, run
from cases import CASES, DIFFERENT, PAIRWISE

REDUCTIONS = ("mean", "none")
LIMITS = (1 << 20, 4 << 20)


def memory_events(work):
    """Allocations (positive) and frees (negative) of torch while `work` runs, in order."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        kept = work()
    events = [
        (event.start_ns(), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    del kept
    return [size for _, size in sorted(events, key=lambda event: event[0])]


def peak_bytes(work):
    now = peak = 0
    for size in memory_events(work):
        now += size
        peak = max(peak, now)
    return peak


def variants_to_measure(case):
    if not case.is_pairwise:
        return case.few_variants
    names = (
        *("dot, plain", "cosine, plain", "euclidean, plain"),
        *("dot, smoothing all", "dot, all", "dot, dim 0 all"),
    )
    return [variant for variant in case.variants if variant.name in names]


BOUNDED = [case for case in CASES if case.memory_bound is not None]
MEASURED = [(case, variant) for case in BOUNDED for variant in variants_to_measure(case)]
# A loss without products knows no limit.
LIMITED = [
    (case, variant, reduction, limit)
    for case, variant in MEASURED
    for reduction in REDUCTIONS[0 if case.has_reduction else 1 :]
    for limit in (LIMITS if case.is_pairwise and variant.kind == "plain" else LIMITS[:1])
]


def test_the_counter_counts():
    """A peak of two tensors alive at once, the first freed before the third."""

    def work():
        a = torch.empty(1 << 18)
        b = torch.empty(1 << 18)
        del a
        return b, torch.empty(1 << 18)

    assert peak_bytes(work) == 2 * 4 << 18


@pytest.mark.parametrize(("case", "variant", "reduction", "limit"), LIMITED, ids=str)
def test_peak_bytes(case, variant, reduction, limit):
    arguments = case.arguments(variant, case.large, torch.float32, reduction=reduction)
    names = case.may_require_grad(arguments)
    leaves = as_leaves(arguments, names)
    inputs = [leaves[name] for name in names]
    upstream = random_upstream(case.function(**leaves).detach())

    def forward_and_backward():
        return torch.autograd.grad(case.function(**leaves), inputs, upstream)

    with fastloss.workspace_limit(limit):
        run(case.function, arguments, names)  # warm-up: one-off allocations
        peak = peak_bytes(forward_and_backward)
        with torch.no_grad():
            peak_without = peak_bytes(lambda: case.function(**leaves))
    workspace = limit if case.is_pairwise else 0
    assert 0 < peak <= workspace + case.memory_bound(arguments, names)
    assert 0 < peak_without <= workspace + case.memory_bound(arguments, ())


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("case", "variant"), MEASURED, ids=str)
def test_saved_bytes(case, variant, reduction):
    """Kept for backward: gradients, or vectors where they are formed again, beside the inputs
    themselves."""
    arguments = case.arguments(variant, case.large, torch.float32, reduction=reduction)
    names = case.may_require_grad(arguments)
    leaves = as_leaves(arguments, names)
    own = {value.data_ptr() for value in leaves.values() if isinstance(value, torch.Tensor)}
    saved = []

    def pack(tensor):
        if tensor.data_ptr() not in own:
            saved.append(tensor.element_size() * tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        case.function(**leaves)
    vectors = case.memory_bound(arguments, ())
    accumulators = sum(4 * arguments[name].numel() for name in names)
    again = reduction == "none" and case.recomputes_none
    assert sum(saved) <= vectors + (0 if again else accumulators)


def high_water():
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


def growth_of_this_process(name):
    """Of its high-water mark by one call, and the bound."""
    case = next(case for case in CASES if case.name == name)
    small = case.arguments(case.variants[0], case.sizes[0], torch.float32)
    names = case.may_require_grad(small)
    run(case.function, small, names)
    size = case.large
    if case.is_pairwise:
        size = size.resized(n=6144, m=12288, d=32)  # 302 MB of scores, or 151 MB if square
    arguments = case.arguments(case.variants[0], size, torch.float32)
    before = high_water()
    run(case.function, arguments, names)
    return high_water() - before, case.memory_bound(arguments, names)


@pytest.fixture(scope="module")
def fresh_processes():
    """Each call of `apply` meets a process of its own, forked from one that computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "fastloss"])
    with context.Pool(1, maxtasksperchild=1) as pool:
        yield pool


@pytest.mark.parametrize("case", [case for case in BOUNDED if case in DIFFERENT], ids=str)
def test_peak_of_the_process(case, fresh_processes):
    """What the C library and worker threads allocate too: the high-water mark of the process."""
    grown, bound = fresh_processes.apply(growth_of_this_process, (case.name,))
    slack = 24 << 20  # pages the allocator keeps, code loaded on first use
    workspace = (64 << 20) if case.is_pairwise else 0
    assert grown <= workspace + bound + slack, f"{grown / 2**20:.0f} MiB"


def products(work):
    before = fastloss._C.multiply_adds()
    work()
    return fastloss._C.multiply_adds() - before


@pytest.mark.parametrize("limit", [1 << 19, 64 << 20], ids=["part", "fits"])
@pytest.mark.parametrize("towers", [(), (0,), (1,), (0, 1)], ids=["none", "1st", "2nd", "both"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", PAIRWISE, ids=str)
def test_matrix_products(case, reduction, towers, limit):
    """1 G without gradients, 3 G with both, 4 G for "none" and for columns too if the scores do
    not fit; a frozen tower saves its product."""
    wrt = tuple(case.operands[i] for i in towers if i < len(case.operands))
    for variant in variants_to_measure(case):
        if "negatives" in variant.inputs:
            continue
        size = case.large.resized(n=512, m=1024, d=64, h=0)
        arguments = case.arguments(variant, size, torch.float32, reduction=reduction)
        with fastloss.workspace_limit(limit):
            count = products(lambda a=arguments: run(case.function, a, wrt))
            least, most = case.products(arguments, wrt)
        unit, _ = case.products(arguments, ())
        assert least <= count <= most, f"{variant}: {count / unit:.2f} products"


@pytest.mark.parametrize("case", PAIRWISE, ids=str)
def test_no_grad_costs_one_product(case):
    size = case.large.resized(n=512, m=1024, d=64, h=0)
    arguments = case.arguments(case.variants[0], size, torch.float32)
    leaves = as_leaves(arguments, case.may_require_grad(arguments))
    least, most = case.products(arguments, ())
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert least <= products(lambda: case.function(**leaves)) <= most


@pytest.mark.parametrize("case", PAIRWISE, ids=str)
def test_products_do_not_grow_with_less_workspace(case):
    """Chunks are not computed twice; splitting columns costs at most the second pass, 4 G."""
    size = case.large.resized(n=512, m=4096, d=64, h=0)
    arguments = case.arguments(case.variants[0], size, torch.float32)
    _, three = case.products(arguments, case.operands)
    with fastloss.workspace_limit(1 << 20):
        count = products(lambda: run(case.function, arguments, case.operands))
    assert count <= three * 4 / 3
