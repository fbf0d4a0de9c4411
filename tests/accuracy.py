"""When is a result right? One rule and one table for all tests.

    |ours − exact| ≤ 2 · |eager − exact| + floor(dtype) · max(largest |exact|, terms)

`exact` is the reference in float64 on the same stored values, `eager` the plain-torch form in
float32. Nothing wider than float64 is at hand, so its eager error is taken to be that of float32
times 2⁻²⁹, the ratio of their units. Errors are the largest over a tensor: single entries of
eager may be exact by luck. `terms` is the size of what cancels in a result that is (nearly) zero
by definition. Entries that are not finite must be the same in `ours` and `exact`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from case import Result, as_leaves, run, to_dtype

# dtype: (for entries of a tensor, for a 0-dim result), relative to the largest exact entry.
# Eager's error in one number says little about the error of a sum of that many terms, so scalars
# get a wider floor.
FLOORS = {torch.float32: (1e-6, 1e-5), torch.float64: (5e-14, 5e-13)}
DTYPES = tuple(FLOORS)
UNIT_RATIO = {torch.float32: 1.0, torch.float64: 2.0**-29}


def floor_of(result):
    return FLOORS[result.dtype][result.dim() == 0]


def largest_error(result, exact):
    """Largest |result − exact| over the entries where both are finite, in float64."""
    result, exact = result.double(), exact.double()
    both = result.isfinite() & exact.isfinite()
    return (result - exact)[both].abs().max().item() if both.any() else 0.0


def largest(exact):
    finite = exact[exact.isfinite()]
    return finite.abs().max().item() if finite.numel() else 0.0


def assert_same_nonfinite(ours, exact, what):
    assert torch.equal(ours.isnan(), exact.isnan()), f"{what}: NaN at other places"
    infinite = exact.isinf()
    assert torch.equal(ours.isinf(), infinite), f"{what}: infinite at other places"
    assert torch.equal(ours[infinite].double(), exact[infinite].double()), f"{what}: sign of inf"


def assert_within(ours, exact, allowed, what):
    assert ours.shape == exact.shape, f"{what}: shape {tuple(ours.shape)}, not {exact.shape}"
    assert_same_nonfinite(ours, exact, what)
    error = largest_error(ours, exact)
    assert error <= allowed, (
        f"{what}: error {error:.3e} > {allowed:.3e}, largest {largest(exact):.3e}"
    )


def assert_close(result, expected, what="result"):
    """Two computations of the same quantity in one dtype agree to rounding."""
    assert result.dtype == expected.dtype, what
    assert_within(result, expected, 8 * floor_of(expected) * largest(expected), what)


class Judge:
    """Knows the exact results of a call in both dtypes, and how far a function may be off.

    `make(dtype)` returns the arguments. `wrt` names the inputs whose gradients are judged (all
    that may require grad by default, () for the loss alone).
    """

    def __init__(self, case, make, wrt=None, terms=0.0):
        self.arguments = {dtype: make(dtype) for dtype in DTYPES}
        narrow = self.arguments[torch.float32]
        self.wrt = case.may_require_grad(narrow) if wrt is None else wrt
        self.terms = terms
        self.exact = {
            dtype: run(case.reference, to_dtype(arguments, torch.float64), self.wrt)
            for dtype, arguments in self.arguments.items()
        }
        self.eager = run(case.eager or case.reference, narrow, self.wrt)

    def accept(self, function):
        """Assert that `function` gives the right loss and gradients, in both dtypes."""
        for dtype in DTYPES:
            self.accept_result(run(function, self.arguments[dtype], self.wrt), dtype)

    def accept_loss(self, function):
        """The loss without gradients: the cheaper path."""
        for dtype in DTYPES:
            leaves = as_leaves(self.arguments[dtype], self.wrt)
            with torch.no_grad():
                self.accept_result(Result(function(**leaves), {}), dtype)

    def accept_result(self, ours, dtype):
        exact = self.exact[dtype]
        self._accept(ours.loss, exact.loss, self.eager.loss, self.exact[torch.float32].loss, "loss")
        for name, gradient in ours.gradients.items():
            what = f"gradient of {name}"
            narrow = self.eager.gradients[name], self.exact[torch.float32].gradients[name]
            assert gradient.dtype == self.arguments[dtype][name].dtype, what
            allowed = self._accept(gradient, exact.gradients[name], *narrow, what)
            self._accept_as_vector(gradient, exact.gradients[name], *narrow, allowed, what)

    def _accept(self, ours, exact, eager, eager_exact, what):
        floor = floor_of(ours) * max(largest(exact), self.terms)
        allowed = 2 * largest_error(eager, eager_exact) * UNIT_RATIO[ours.dtype] + floor
        assert_within(ours, exact, allowed, f"{what} in {ours.dtype}")
        return allowed

    def _accept_as_vector(self, ours, exact, eager, eager_exact, allowed, what):
        """The same direction, and no bias to one side: entry by entry an error looks small."""
        if exact.numel() < 2 or not exact.isfinite().all() or largest(exact) <= self.terms:
            return

        def turned_and_biased(mine, true):
            # Divided first: norms of 1e180 are squared on the way.
            unit_mine, unit_true = (
                F.normalize(x.flatten().double() / largest(x), dim=0) for x in (mine, true)
            )
            turned = 1 - torch.dot(unit_mine, unit_true).item()
            return max(turned, 0.0), (mine.double() - true.double()).sum().abs().item()

        turned, biased = turned_and_biased(ours, exact)
        eager_turned, eager_biased = turned_and_biased(eager, eager_exact)
        ratio, floor = UNIT_RATIO[ours.dtype], FLOORS[ours.dtype][0]
        assert turned <= 2 * eager_turned * ratio**2 + floor, f"{what}: turned by {turned:.3e}"
        # Errors without a bias add up like a random walk.
        allowed = 2 * eager_biased * ratio + allowed * exact.numel() ** 0.5
        assert biased <= allowed, f"{what}: biased by {biased:.3e} > {allowed:.3e}"
