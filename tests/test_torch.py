"""The losses as citizens of torch: compilation, operators, grad modes, modules, threads, forks."""

import copy
import inspect
import io
import math
import pickle
import re
import threading
import time

import pytest
import torch
import torch._dynamo.testing
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset

import fastloss
from accuracy import assert_close
from case import Variant, as_leaves, run
from cases import CASES, DIFFERENT, ONE_OF_A_FAMILY

# The compiler's own warnings about torch's insides are none of ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

VARIANTS = [(case, variant) for case in CASES for variant in case.variants]
REDUCTIONS = ("mean", "none")


# -------------------------------------------------------------------------------- torch.compile


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


FEW_VARIANTS = [(case, variant) for case in CASES for variant in case.few_variants]
MODULES = [case for case in CASES if case.module is not None]
SCALED = [case for case in MODULES if case.scale is not None]

# The reductions in turn; test_compile_with_dynamic_shapes has "none" for each loss.
FULL_GRAPHS = [
    (case, variant, REDUCTIONS[i % 2 if case.has_reduction else 1])
    for case in CASES
    for i, variant in enumerate(case.few_variants)
]


@pytest.mark.parametrize(("case", "variant", "reduction"), FULL_GRAPHS, ids=str)
def test_compile_fullgraph(case, variant, reduction):
    """One graph, forward and backward, with the bits of the uncompiled loss."""
    arguments = case.arguments(variant, case.small, torch.float32, reduction=reduction)
    names = case.may_require_grad(arguments)
    expected = run(case.function, arguments, names)
    compiled = torch.compile(case.function, fullgraph=True, backend="aot_eager")
    result = run(compiled, arguments, names)
    assert torch.equal(result.loss, expected.loss)
    for name in names:
        assert torch.equal(result.gradients[name], expected.gradients[name]), name


@pytest.mark.parametrize("case", DIFFERENT, ids=str)
def test_compile_with_dynamic_shapes(case):
    """The compilation for the first size serves all sizes."""
    variant = next(v for v in case.variants if v.kind in ("smoothing all", "all"))
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(case.function, fullgraph=True, dynamic=True, backend=counter)
    compilations = []
    for n, m, d in [(4, 6, 3), (5, 9, 4), (17, 23, 8)]:
        size = case.small.resized(n=n, m=m, d=d)
        arguments = case.arguments(variant, size, torch.float32, reduction="none")
        names = case.may_require_grad(arguments)
        expected = run(case.function, arguments, names)
        result = run(compiled, arguments, names)
        assert torch.equal(result.loss, expected.loss)
        for name in names:
            assert torch.equal(result.gradients[name], expected.gradients[name]), name
        # The first may count twice: torch analyses again once it has seen the floats.
        compilations.append(counter.frame_count)
    assert len(set(compilations)) == 1


@pytest.mark.skipif(
    bool(re.search(r"[\s'\"\\\\$]", torch.__file__)),
    reason="torch's compiler does not quote its own path, which holds a space or a quote here",
)
@pytest.mark.parametrize("case", ONE_OF_A_FAMILY, ids=str)
def test_compile_by_the_default_backend(case):
    """With the work around a loss in a training step: an encoder before, a scale after."""
    arguments = case.arguments(case.variants[0], case.small, torch.float32)
    names = case.may_require_grad(arguments)

    def step(**tensors):
        tensors = tensors | {name: torch.tanh(tensors[name] * 1.5) for name in names}
        return 3 * case.function(**tensors)

    expected = run(step, arguments, names)
    result = run(torch.compile(step, fullgraph=True), arguments, names)
    assert_close(result.loss, expected.loss)
    for name in names:
        assert_close(result.gradients[name], expected.gradients[name], name)


@pytest.mark.parametrize("case", [case for case in ONE_OF_A_FAMILY if case in SCALED], ids=str)
def test_compile_module(case):
    arguments = case.arguments(Variant("plain"), case.small, torch.float32)
    module = case.make_module(learnable=True)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for name in case.may_require_grad(arguments):
        arguments[name].requires_grad_()
    expected = module(**arguments)
    result = compiled(**arguments)
    assert torch.equal(result, expected)
    parameters = list(module.parameters())
    for a, b in zip(
        torch.autograd.grad(result, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        assert_close(a, b)


# ------------------------------------------------------------------------------------ operators


class RecordedCalls(TorchDispatchMode):
    """The calls of torch.ops.fastloss.* with their arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "fastloss":
            self.calls.append((function, args, kwargs or {}))
        return function(*args, **(kwargs or {}))


def check_operators(calls, traced):
    """Schema, fake function and aliasing of every operator, on the arguments of a real call."""
    utilities = ["test_schema", "test_faketensor", *(["test_aot_dispatch_dynamic"] * traced)]
    for operator, args, kwargs in calls:
        detached = [a.detach() if isinstance(a, torch.Tensor) else a for a in args]
        torch.library.opcheck(
            operator,
            tuple(detached),
            kwargs,
            test_utils=utilities,
        )


def recorded_calls(case, variant, reduction, dtype):
    arguments = case.arguments(variant, case.small, dtype, reduction=reduction)
    with RecordedCalls() as recorded:
        run(case.function, arguments, case.may_require_grad(arguments))
        run(case.function, arguments)
    return recorded.calls


def registered_operators():
    names = torch._C._dispatch_get_all_op_names()
    return {name.split("::")[1].split(".")[0] for name in names if name.startswith("fastloss::")}


OPERATOR_DTYPES = (torch.float64, torch.bfloat16)


@pytest.mark.parametrize("dtype", OPERATOR_DTYPES, ids=str)
@pytest.mark.parametrize(("case", "variant"), FEW_VARIANTS, ids=str)
def test_opcheck(case, variant, dtype):
    """Traced in one dtype and variant: test_compile_fullgraph traces the others."""
    traced = dtype == torch.float64 and variant == case.few_variants[0]
    for reduction in REDUCTIONS:
        calls = recorded_calls(case, variant, reduction, dtype)
        assert calls or not case.has_operators
        check_operators(calls, traced)


@pytest.mark.parametrize("dtype", OPERATOR_DTYPES, ids=str)
def test_opcheck_of_triplet_statistics(dtype):
    """No loss, hence no case."""
    case = next(case for case in CASES if case.name == "batch_all_triplet_loss")
    inputs = case.draw(torch.Generator().manual_seed(0), dtype, case.small)
    with RecordedCalls() as recorded:
        fastloss.triplet_statistics(**inputs)
        fastloss.triplet_statistics(inputs["embeddings"], inputs["labels"])
    assert len(recorded.calls) == 2
    check_operators(recorded.calls, traced=True)


def test_opcheck_meets_every_operator():
    met = {
        operator._schema.name.split("::")[1]
        for case, variant in FEW_VARIANTS
        for reduction in REDUCTIONS
        for dtype in OPERATOR_DTYPES
        for operator, _, _ in recorded_calls(case, variant, reduction, dtype)
    }
    assert met | {"triplet_statistics"} == registered_operators()


# ----------------------------------------------------------------------------------- grad modes


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_same_value_without_gradients(case, variant, reduction):
    """no_grad and inference_mode take the cheap path: the same value, no graph."""
    arguments = case.arguments(variant, case.sizes[1], torch.float32, reduction=reduction)
    leaves = as_leaves(arguments, case.may_require_grad(arguments))
    loss = case.function(**leaves)
    with torch.no_grad():
        without = case.function(**leaves)
    with torch.inference_mode():
        inference = case.function(**leaves)
    assert not without.requires_grad
    assert inference.is_inference()
    assert_close(without, loss.detach())
    assert torch.equal(inference, without)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_vmap_and_forward_mode_are_errors(case):
    arguments = case.arguments(case.variants[0], case.small)
    first = case.operands[0]
    operand = arguments.pop(first)

    def loss(operand):
        return case.function(**{first: operand}, **arguments)

    with pytest.raises(RuntimeError):
        torch.func.vmap(loss)(operand[None])
    leaf = operand.clone().requires_grad_()
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.func.jvp(loss, (leaf,), (torch.ones_like(operand),))


# -------------------------------------------------------------------------------------- modules


def module_calls(case):
    """(module, function arguments) for every variant whose options a constructor takes."""
    for variant in case.variants:
        if case.scale is None or not {case.scale[0], *case.held} & variant.inputs.keys():
            yield variant, case.make_module(**variant.options)


@pytest.mark.parametrize("case", MODULES, ids=str)
def test_module_is_the_function(case):
    for variant, module in module_calls(case):
        arguments = case.arguments(variant, case.small)
        tensors = {k: v for k, v in arguments.items() if isinstance(v, torch.Tensor)}
        torch.testing.assert_close(module(**tensors), case.function(**arguments))


@pytest.mark.parametrize("case", MODULES, ids=str)
def test_module_constructor_takes_every_option(case):
    parameters = inspect.signature(case.module_type).parameters
    assert {*case.module_options, "reduction"} <= parameters.keys()
    options = inspect.signature(case.function).parameters
    for name in (*case.module_options, "reduction"):
        assert parameters[name].default == options[name].default, name
    text = repr(case.module_type(reduction="sum"))
    assert "sum" in text, "a module shows its options"


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("case", MODULES, ids=str)
def test_module_copies(case, learnable):
    """Pickle, deepcopy and state_dict keep options and parameters."""

    def make(scale):
        options = {} if case.scale is None else {case.scale[0]: scale, "learnable": learnable}
        return case.make_module(**options, reduction="sum")

    module = make(0.3)
    for parameter in module.parameters():
        parameter.data.mul_(1.25)
    arguments = case.arguments(Variant("plain"), case.small, torch.float32)
    expected = module(**arguments)

    other = make(0.7)
    other.load_state_dict(module.state_dict())
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    loaded = make(0.3)
    loaded.load_state_dict(torch.load(buffer))
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded]
    if learnable:
        copies.append(other)
    for twin in copies:
        assert torch.equal(twin(**arguments), expected)
        assert twin.state_dict().keys() == module.state_dict().keys()


@pytest.mark.parametrize("case", SCALED, ids=str)
def test_module_learns_its_parameters(case):
    """The parameter's gradient is the derivative of the loss with respect to it."""
    module = case.make_module(**{case.scale[0]: 0.3}, learnable=True).double()
    parameters = dict(module.named_parameters())
    assert list(parameters) == [f"log_{case.scale[0]}", *case.held]
    assert parameters[f"log_{case.scale[0]}"].item() == pytest.approx(math.log(0.3))
    arguments = case.arguments(Variant("plain"), case.small)
    module(**arguments).backward()
    step = 1e-6
    for parameter in parameters.values():
        assert parameter.dim() == 0
        with torch.no_grad():
            parameter.add_(step)
            above = module(**arguments)
            parameter.sub_(2 * step)
            below = module(**arguments)
            parameter.add_(step)
        slope = ((above - below) / (2 * step)).item()
        assert parameter.grad.item() == pytest.approx(slope, rel=1e-6)
    assert not list(case.make_module(**{case.scale[0]: 0.3}).parameters())


def test_clip_scale_is_clamped():
    """CLIP's: at most 100, held there without gradient; the parameter itself is not changed."""
    assert fastloss.nn.CLIPLoss().logit_scale.item() == pytest.approx(1 / 0.07)
    module = fastloss.nn.CLIPLoss(init_logit_scale=99.0)
    image, text = torch.randn(2, 5, 3)
    with torch.no_grad():
        module.log_logit_scale.add_(1.0)
    assert module.logit_scale.item() == pytest.approx(100.0)
    loss = module(image, text)
    assert_close(loss, fastloss.clip_loss(image, text, logit_scale=100.0))
    loss.backward()
    assert module.log_logit_scale.grad.item() == 0.0
    assert module.log_logit_scale.item() == pytest.approx(math.log(99.0) + 1)

    small = fastloss.nn.CLIPLoss(init_logit_scale=2.0, max_logit_scale=3.0)
    assert small.logit_scale.item() == pytest.approx(2.0)
    with torch.no_grad():
        small.log_logit_scale.fill_(math.log(5.0))
    assert small.logit_scale.item() == pytest.approx(3.0)
    assert fastloss.nn.CLIPLoss(learnable=False).logit_scale == 1 / 0.07


# ------------------------------------------------------------------------- threads and processes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_python_runs_meanwhile(case):
    """The GIL is released: this thread keeps ticking while another computes a loss."""
    n, alone = case.large.n, 0.0
    while alone < 0.02:  # seconds: a call takes many ticks
        size = case.large.resized(n=n, m=3 * n)
        arguments = case.arguments(case.variants[0], size, torch.float32)
        names = case.may_require_grad(arguments)
        started = time.monotonic()
        run(case.function, arguments, names)
        alone, n = time.monotonic() - started, 2 * n
    ticks, done = 0, threading.Event()
    errors = []

    def work():
        try:
            started = time.monotonic()
            while time.monotonic() - started < 0.3:
                run(case.function, arguments, names)
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    longest = 0.0
    thread = threading.Thread(target=work)
    thread.start()
    last = time.monotonic()
    while not done.is_set():
        time.sleep(0.001)
        now = time.monotonic()
        longest, last, ticks = max(longest, now - last), now, ticks + 1
    thread.join()
    assert not errors
    # Holding the GIL would allow about one tick a call.
    assert ticks > 5 * 0.3 / alone, (ticks, alone, longest)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_python_threads(case):
    """Concurrent calls with different options do not disturb each other."""
    variants = case.variants[:8]
    count, size = len(variants), case.sizes[0]
    calls = [case.arguments(variant, size, torch.float32) for variant in variants]
    expected = [run(case.function, a, case.may_require_grad(a)) for a in calls]
    wrong = []

    def work(indices):
        for i in indices:
            result = run(case.function, calls[i], case.may_require_grad(calls[i]))
            if not torch.equal(result.loss, expected[i].loss):
                wrong.append(i)

    threads = [
        threading.Thread(target=work, args=([(i + k) % count for i in range(24)],))
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class LossAsData(Dataset):
    """Computes a loss inside a DataLoader worker, as hard-negative mining may do."""

    def __init__(self, case):
        self.case = case

    def __len__(self):
        return 4

    def __getitem__(self, index):
        case = self.case
        arguments = case.arguments(case.variants[0], case.small, seed=index)
        return run(case.function, arguments, case.may_require_grad(arguments)).loss


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forked_workers(case):
    """Used in the parent first, then in forked workers: the same values, no hang."""
    data = LossAsData(case)
    expected = torch.stack([data[i] for i in range(4)])
    loader = DataLoader(
        data, batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    assert torch.equal(torch.cat(list(loader)), expected)


def test_one_openmp():
    """Two copies of libgomp would mean two pools of threads, and limits that do not hold."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        copies = {line.split()[-1] for line in maps if "libgomp" in line}
    assert len(copies) == 1, copies


def test_build_info():
    info = fastloss.build_info()
    assert info["version"] == fastloss.__version__
    assert info["torch"] == torch.__version__
    assert info["simd"] in info["simd_available"]
    assert info["matrix_product"] in ("brgemm", "mm")
    assert info["threads"] == torch.get_num_threads()
    assert isinstance(info["cuda"], bool)
    assert ("cuda_toolkit" in info) == ("cuda_architectures" in info) == info["cuda"]
