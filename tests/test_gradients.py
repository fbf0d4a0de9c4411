"""Gradients equal those of the reference, for every subset of inputs that may require grad."""

from itertools import combinations

import pytest
import torch

from accuracy import Judge, assert_close, judge_of
from case import as_leaves, random_upstream, run
from cases import CASES

VARIANTS = [(case, variant) for case in CASES for variant in case.variants]
SIZES = [(case, size) for case in CASES for size in case.sizes]
KINDS_BY_REDUCTION = {
    "mean": ("sharp", "smoothing all"),
    "none": ("decoupled all", "ignoring all", "ids all", "all", "dim 0 all"),
}


# A sum is a mean whose divisor is 1: test_properties.py has its gradient.
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_every_variant(case, variant, reduction):
    """As numbers, as vectors and without a bias to one side; random upstream gradients."""
    size = case.sizes[0]
    judge = judge_of(case, variant, size, reduction)
    judge.accept_loss(case.function)
    judge.accept(case.function)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "size"), SIZES, ids=str)
def test_every_size(case, size, reduction):
    """Sizes and feature scales, for the variants that differ most."""
    terms = 1.0 if size.is_trivial else 0.0
    for variant in case.variants:
        few = reduction == "none" and variant in case.few_variants
        if few or variant.kind in KINDS_BY_REDUCTION[reduction]:
            judge = judge_of(case, variant, size, reduction, terms=terms)
            judge.accept_loss(case.function)
            judge.accept(case.function)


ALL_INPUTS = [(case, variant) for case, variant in VARIANTS if variant.name.endswith(" all")]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("case", "variant"), ALL_INPUTS, ids=str)
def test_every_subset_of_inputs(case, variant, reduction):
    """Frozen towers: what does not require grad gets none and changes nothing for the others."""
    size = case.sizes[1]
    judge = Judge(case, lambda dtype: case.arguments(variant, size, dtype, reduction=reduction))
    judge.accept_loss(case.function)
    arguments = judge.arguments[torch.float64]
    for count in range(1, len(judge.wrt) + 1):
        for wrt in combinations(judge.wrt, count):
            judge.accept_result(run(case.function, arguments, wrt), torch.float64)


@pytest.mark.parametrize(("case", "variant"), VARIANTS, ids=str)
def test_gradcheck(case, variant):
    """Central differences of the function itself: independent of the reference."""
    for reduction in ("mean", "none"):
        arguments = case.arguments(variant, case.small, reduction=reduction)
        if variant.kind == "sharp" and "temperature" in arguments:
            arguments["temperature"] = 0.05  # differences of 1e-6 cannot resolve 0.005
        names = case.may_require_grad(arguments)
        leaves = as_leaves(arguments, names)

        def loss(*tensors, names=names, arguments=arguments):
            return case.function(**arguments | dict(zip(names, tensors, strict=True)))

        assert torch.autograd.gradcheck(loss, [leaves[name] for name in names])


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_twice_gives_the_same(case, reduction):
    arguments = case.arguments(case.variants[0], case.small, torch.float32, reduction=reduction)
    names = case.may_require_grad(arguments)
    leaves = as_leaves(arguments, names)
    inputs = [leaves[name] for name in names]
    loss = case.function(**leaves)
    upstream = random_upstream(loss)
    first = torch.autograd.grad(loss, inputs, upstream, retain_graph=True)
    second = torch.autograd.grad(loss, inputs, 2 * upstream, retain_graph=True)
    third = torch.autograd.grad(loss, inputs, upstream)
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(2 * a, b)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(loss, inputs, upstream)


@pytest.mark.parametrize("name", ["listnet_loss", "bpr_loss"])
def test_saved_gradient_is_given_away_last(name):
    """Only the last pass through a graph may change the gradient that the forward pass saved, and
    not for several upstream gradients at once."""
    case = next(case for case in CASES if case.name == name)
    arguments = case.arguments(case.variants[0], case.small, torch.float32, reduction="mean")
    names = case.may_require_grad(arguments)
    leaves = as_leaves(arguments, names)
    inputs = [leaves[name] for name in names]
    upstream = torch.tensor([1.0, 3.0])

    def gradients(factor, **options):
        return torch.autograd.grad(case.function(**leaves), inputs, factor, **options)

    both = gradients(upstream, is_grads_batched=True)
    for factor, rows in zip(upstream, zip(*both, strict=True), strict=True):
        for row, expected in zip(rows, gradients(factor), strict=True):
            assert torch.equal(row, expected)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        loss = case.function(**leaves)
    saved = {x.data_ptr() for x in kept}
    for last in (False, True):
        got = torch.autograd.grad(loss, inputs, upstream[1], retain_graph=not last)
        assert all((x.data_ptr() in saved) == last for x in got)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_accumulation_and_hooks(case):
    """.backward() adds to .grad; hooks see and may change a gradient on its way."""
    arguments = case.arguments(case.variants[0], case.small, torch.float32)
    name = case.may_require_grad(arguments)[0]

    def total(**arguments):
        return case.function(**arguments).sum()

    once = run(total, arguments, (name,), torch.tensor(1.0)).gradients[name]

    leaves = as_leaves(arguments, (name,))
    for _ in range(3):
        total(**leaves).backward()
    assert_close(leaves[name].grad, 3 * once)

    leaves = as_leaves(arguments, (name,))
    leaves[name].register_hook(lambda grad: -2 * grad)
    total(**leaves).backward()
    assert torch.equal(leaves[name].grad, -2 * once)

    leaves = as_leaves(arguments, (name,))
    middle = leaves[name] * 1.0
    middle.retain_grad()
    loss = total(**leaves | {name: middle})
    loss.register_hook(lambda grad: 5 * grad)
    loss.backward()
    assert_close(middle.grad, 5 * once)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_can_be_changed_in_place(case):
    """A returned gradient is nobody else's memory: changing it changes no later backward."""
    arguments = case.arguments(case.variants[0], case.small, torch.float32)
    names = case.may_require_grad(arguments)
    leaves = as_leaves(arguments, names)
    loss = case.function(**leaves)
    one = torch.ones_like(loss)
    inputs = [leaves[name] for name in names]
    first = torch.autograd.grad(loss, inputs, one, retain_graph=True)
    kept = [grad.clone() for grad in first]
    for grad in first:
        grad.zero_()
    again = torch.autograd.grad(loss, inputs, one)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_in_place_change_of_an_input_is_an_error_or_harmless(case):
    """Where backward reads the inputs again, torch must notice that they changed."""
    arguments = case.arguments(case.variants[0], case.small, torch.float32, reduction="none")
    name = case.may_require_grad(arguments)[0]
    upstream = random_upstream(case.function(**arguments))
    expected = run(case.function, arguments, (name,), upstream).gradients[name]
    leaves = as_leaves(arguments, (name,))
    changed = leaves[name] * 1.0
    loss = case.function(**leaves | {name: changed})
    changed.mul_(2)
    try:
        loss.backward(upstream)
    except RuntimeError as error:
        assert "inplace" in str(error)  # noqa: PT017 - either outcome is right
        return
    assert torch.equal(leaves[name].grad, expected)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_second_derivative_is_an_error(case, reduction):
    """Also when the first derivative is one term among others: a gradient penalty must not
    vanish silently."""
    arguments = case.arguments(case.variants[0], case.small, reduction=reduction)
    name = case.may_require_grad(arguments)[0]
    leaves = as_leaves(arguments, (name,))
    loss = case.function(**leaves).sum()
    (grad,) = torch.autograd.grad(loss, [leaves[name]], create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|twice|second"):
        (grad.square().sum() + leaves[name].sum()).backward()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_needs_no_gradient_gets_no_graph(case):
    arguments = case.arguments(case.variants[0], case.small)
    assert not case.function(**arguments).requires_grad
    leaves = as_leaves(arguments, case.may_require_grad(arguments))
    assert case.function(**leaves).requires_grad
    with torch.no_grad():
        assert not case.function(**leaves).requires_grad
