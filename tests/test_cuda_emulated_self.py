"""The losses of one set and batch-hard triplets on an emulated CUDA device, held against the
references like those on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import fastloss
from accuracy import HALVES, Judge
from case import run
from cases import CASES
from test_cuda_emulated import JudgeOf16Bits

sys.path.insert(0, str(Path(__file__).parent / "emulator"))
import extension

pytestmark = pytest.mark.cuda_deep  # the module is compiled for minutes
NAMES = ("batch_hard_triplet_loss", "nt_xent", "pairwise_contrastive_loss", "sup_con")
ONE_SET = [case for case in CASES if case.name in NAMES]
FEW_KINDS = ("all", "decoupled all", "references", "softplus", "sharp")
VARIANTS = [
    pytest.param(case, variant, marks=[] if variant.kind in FEW_KINDS else [pytest.mark.cuda_deep])
    for case in ONE_SET
    for variant in case.variants
]


@pytest.fixture(scope="module")
def emulated():
    return extension.module()


@pytest.fixture(autouse=True)
def _on_device(emulated):
    with extension.on_emulated_device(emulated):
        yield


def judge(case, variant, size, reduction, kind=Judge, **options):
    return kind(
        case, lambda dtype: case.arguments(variant, size, dtype, reduction=reduction), **options
    )


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_every_variant(case, variant, reduction):
    judge(case, variant, case.sizes[0], reduction).accept(case.function)


@pytest.mark.cuda_deep
@pytest.mark.parametrize("case", ONE_SET, ids=str)
def test_every_size(case):
    """In a workspace that holds a few tiles of the larger sizes."""
    for size in case.sizes:
        for reduction in ("sum", "none"):
            terms = 1.0 if size.is_trivial else 0.0
            for variant in case.few_variants:
                with fastloss.workspace_limit(1 << 16):
                    judge(case, variant, size, reduction, terms=terms).accept(case.function)


@pytest.mark.parametrize("case", ONE_SET, ids=str)
def test_every_edge(case):
    for edge in case.edges:
        for reduction in ("mean", "none"):
            judged = Judge(
                case,
                lambda dtype, edge=edge, reduction=reduction: case.reduced(
                    edge.arguments(dtype), reduction
                ),
                terms=edge.terms,
            )
            judged.accept_loss(case.function)
            for dtype, arguments in judged.arguments.items():
                result = run(case.function, arguments, judged.wrt)
                # The library may round the products of equal rows apart: which one is chosen is
                # then open.
                chooses = case.name == "batch_hard_triplet_loss" and "all rows equal" in edge.name
                if not edge.gradients or chooses:
                    result.gradients.clear()
                judged.accept_result(result, dtype)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", ONE_SET, ids=str)
def test_16_bits(case, reduction):
    for variant in case.few_variants:
        judged = judge(case, variant, case.sizes[0], reduction, JudgeOf16Bits, dtypes=HALVES)
        judged.accept(case.function)
        judged.accept_loss(case.function)


@pytest.mark.parametrize("case", ONE_SET, ids=str)
def test_every_order_of_threads_gives_the_same_bits(case, emulated):
    for variant in case.few_variants:
        arguments = case.arguments(variant, case.sizes[0], torch.float32)
        wrt = case.may_require_grad(arguments)
        results = []
        for seed in (1, 2):
            emulated.seed(seed)
            results.append(run(case.function, arguments, wrt, torch.tensor(1.0)))
        assert torch.equal(results[0].loss, results[1].loss)
        for name in wrt:
            assert torch.equal(results[0].gradients[name], results[1].gradients[name])


def test_what_the_cpu_refuses_is_nan():
    """Values cannot be read without waiting for the device."""
    case = next(case for case in ONE_SET if case.name == "sup_con")
    arguments = case.arguments(case.variants[0], case.small, torch.float32, reduction="none")
    rows = len(arguments["embeddings"])
    weights = torch.ones(rows)
    weights[1] = -1.0
    loss = case.function(**arguments | {"weights": weights})
    assert loss.isnan().nonzero().flatten().tolist() == [1]
    assert case.function(**arguments | {"temperature": torch.tensor(-1.0)}).isnan().all()
