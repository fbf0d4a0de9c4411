"""Whatever belongs to a public loss is there: reference, case, module, signature, operators."""

import inspect
import sys

import pytest
import torch

import fastloss
import fastloss.nn
import fastloss.reference
from cases import CASES
from signatures import FUNCTIONS, MODULES

FAMILIES = ("contrastive", "ranking", "metric", "pointwise")


def public_losses():
    """The functions of fastloss.__all__ that live in a family's folder and return a tensor."""
    return [
        name
        for name in fastloss.__all__
        if inspect.isfunction(getattr(fastloss, name))
        and getattr(fastloss, name).__module__.startswith(
            tuple(f"fastloss.{family}" for family in FAMILIES)
        )
        and inspect.signature(getattr(fastloss, name)).return_annotation == "Tensor"
    ]


LOSSES = public_losses()


def flattened(signature):
    """A signature as text: no annotations, one space, one kind of quotes."""
    if not isinstance(signature, str):
        parameters = [
            p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"
        ]
        signature = str(inspect.Signature(parameters))
    return " ".join(signature.replace('"', "'").split())


def test_there_are_losses():
    assert {"clip_loss", "info_nce", "linear_cross_entropy", "pairwise_logsumexp"} <= set(LOSSES)
    assert list(fastloss.__all__) == sorted(set(fastloss.__all__), key=fastloss.__all__.index)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_has_everything(name):
    case = next((case for case in CASES if case.name == name), None)
    assert case is not None, f"tests/cases.py has no case for {name}"
    assert name in fastloss.reference.__all__
    assert name in FUNCTIONS, "signatures.py lacks it"
    if case.module is not None:
        assert case.module in MODULES
        assert case.module in fastloss.nn.__all__
        assert issubclass(case.module_type, torch.nn.Module)
    operators = torch._C._dispatch_get_all_op_names()
    assert any(op.startswith(f"fastloss::{name}_") for op in operators) == case.has_operators
    for declared in ("variants", "differentiable", "invariances", "edges", "errors"):
        assert getattr(case, declared), f"the case declares no {declared}"


def test_cases_and_losses_are_the_same():
    assert [case.name for case in CASES] == LOSSES
    assert set(FUNCTIONS) == set(LOSSES)
    modules = {case.module for case in CASES if case.module is not None}
    assert modules == set(fastloss.nn.__all__) == set(MODULES)


@pytest.mark.parametrize("name", LOSSES)
def test_files_mirror_each_other(name):
    """One stem: fastloss/<family>/<stem>.py and fastloss/reference/<family>/<stem>.py."""
    ours, reference = getattr(fastloss, name), getattr(fastloss.reference, name)
    family = ours.__module__.split(".")[1]
    assert ours.__module__ == f"fastloss.{family}.{name}"
    assert reference.__module__ == f"fastloss.reference.{family}.{name}"
    assert sys.modules[ours.__module__].__doc__


@pytest.mark.parametrize("name", LOSSES)
def test_signature(name):
    expected = flattened(FUNCTIONS[name])
    assert flattened(inspect.signature(getattr(fastloss, name))) == expected
    assert flattened(inspect.signature(getattr(fastloss.reference, name))) == expected


@pytest.mark.parametrize("name", sorted(MODULES))
def test_module_signature(name):
    module = getattr(fastloss.nn, name)
    constructor, forward = MODULES[name]
    assert flattened(inspect.signature(module.__init__)) == flattened(constructor)
    assert flattened(inspect.signature(module.forward)) == flattened(forward)


@pytest.mark.parametrize("case", [case for case in CASES if case.module is not None], ids=str)
def test_module_forward_takes_the_tensors_of_the_function_in_its_order(case):
    forward = list(inspect.signature(case.module_type.forward).parameters)[1:]
    function = list(inspect.signature(case.function).parameters)
    assert forward == [name for name in function if name in forward]
    options = set(inspect.signature(case.module_type).parameters) - {"learnable"}
    if case.scale is not None:
        ours, theirs = case.scale
        options = options - {theirs, f"max_{ours}", *case.held.values()} | {ours, *case.held}
    assert set(function) == set(forward) | options


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case_and_signature_agree(case):
    parameters = inspect.signature(case.function).parameters
    required = tuple(name for name, p in parameters.items() if p.default is p.empty)
    assert case.required == required
    assert case.operands == required[: len(case.operands)]
    assert case.has_reduction == ("reduction" in parameters)
    assert set(case.differentiable) <= set(parameters)
    used = {name for v in case.variants for name in (*v.inputs, *v.options)}
    assert used <= set(parameters)
    assert set(parameters) - used <= {*required, "group", "reduction"}, "no variant has it"


@pytest.mark.parametrize("name", LOSSES)
def test_public_functions_are_annotated(name):
    signature = inspect.signature(getattr(fastloss, name))
    for parameter in signature.parameters.values():
        assert parameter.annotation is not parameter.empty, parameter.name
    assert signature.return_annotation is not signature.empty
