"""What CUDA asks of the Python side, on a machine without a GPU: messages, operators, the choice of
the engine."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastloss
from cases import CASES
from fastloss import _checks, _cuda


@pytest.fixture(params=[False, True], ids=["without", "with"])
def built(request, monkeypatch):
    """A build without and one with CUDA kernels, as far as the checks see."""
    monkeypatch.setattr(_cuda, "BUILT", request.param)
    return request.param


def cuda_arguments(case):
    """A good call whose tensors claim to be on a CUDA device; their values do not exist."""
    variant = next((v for v in case.variants if v.kind == "target"), case.variants[0])
    arguments = case.arguments(variant, case.small, torch.float32)
    with FakeTensorMode():
        return {
            k: torch.empty(v.shape, dtype=v.dtype, device="cuda") if torch.is_tensor(v) else v
            for k, v in arguments.items()
        }


WITH_KERNELS = [case for case in CASES if case.name in _cuda.LOSSES]
WITHOUT = [case for case in CASES if case.name not in _cuda.LOSSES]


def test_losses_with_kernels_are_losses():
    assert {case.name for case in WITH_KERNELS} == _cuda.LOSSES


@pytest.mark.parametrize("case", WITH_KERNELS, ids=str)
def test_message_without_a_cuda_build(case, monkeypatch):
    monkeypatch.setattr(_cuda, "BUILT", False)
    with pytest.raises(RuntimeError, match=rf"^{case.name}: \w+ is on cuda:0.*rebuild.*nvcc"):
        case.function(**cuda_arguments(case))


@pytest.mark.parametrize("case", WITHOUT, ids=str)
def test_message_without_kernels(case, built):
    """Whatever the build: the loss has none in this version."""
    with pytest.raises(RuntimeError, match=rf"^{case.name}: \w+ is on cuda:0.*no CUDA kernels"):
        case.function(**cuda_arguments(case))


@pytest.mark.parametrize("case", WITH_KERNELS, ids=str)
def test_checks_pass_with_a_cuda_build(case, monkeypatch):
    """Every argument is let through, and the fake function tells shapes and device."""
    monkeypatch.setattr(_cuda, "BUILT", True)
    loss = case.function(**case.reduced(cuda_arguments(case), "mean"))
    assert loss.device.type == "cuda"
    assert loss.dim() == (0 if case.has_reduction else 1)


def test_other_devices():
    with pytest.raises(ValueError, match="must be on the CPU or a CUDA device"):
        _checks.device("info_nce", "query", FakeDevice("xpu"))


class FakeDevice:
    def __init__(self, kind):
        self.device = torch.device(kind)


def test_two_devices():
    with FakeTensorMode():
        query, key = torch.empty(3, 2, device="cuda:0"), torch.empty(3, 2, device="cuda:1")
    with pytest.raises(ValueError, match="key must be on the same device as query, cuda:0"):
        _checks.floating("info_nce", "key", key, like=query)


@pytest.mark.skipif(not _cuda.BUILT, reason="this build has no CUDA kernels")
def test_operators_with_cuda_kernels():
    """Those of the losses that have them, and of their gradients; no others."""
    names = {n for n in torch._C._dispatch_get_all_op_names() if n.startswith("fastloss::")}
    on_cuda = {n for n in names if torch._C._dispatch_has_kernel_for_dispatch_key(n, "CUDA")}
    stems = {n.removeprefix("fastloss::").rsplit("_", 1)[0] for n in on_cuda if n.endswith("ward")}
    assert stems == _cuda.LOSSES
    rest = {n for n in on_cuda if not n.endswith("ward")}
    assert rest == {"fastloss::negatives_gradient", "fastloss::scaled_gradient"}


# ------------------------------------------------------------------------- the choice of engine


def test_cuda_engine():
    assert _cuda.current_cuda_engine() == "auto"
    with fastloss.cuda_engine("mma") as outer:
        assert repr(outer) == "cuda_engine('mma')"
        with fastloss.cuda_engine("library"):
            assert _cuda.current_cuda_engine() == "library"
        assert _cuda.current_cuda_engine() == "mma"
    assert _cuda.current_cuda_engine() == "auto"
    fastloss.cuda_engine("library")
    assert _cuda.current_cuda_engine() == "library"
    fastloss.cuda_engine("auto")


def test_cuda_engine_is_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), fastloss.cuda_engine("mma"):
        raise ZeroDivisionError
    assert _cuda.current_cuda_engine() == "auto"


def test_cuda_engine_errors():
    with pytest.raises(TypeError, match="cuda_engine: name must be a string, got int"):
        fastloss.cuda_engine(1)
    with pytest.raises(ValueError, match="must be one of auto, library, mma, got 'cutlass'"):
        fastloss.cuda_engine("cutlass")
    assert _cuda.current_cuda_engine() == "auto"
