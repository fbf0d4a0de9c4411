"""When is a result right? One rule and one table for all tests.

    |ours − exact| ≤ 2 · |eager − exact| + floor(dtype) · max(largest |exact|, terms)

`exact` is the reference in float64 on the same stored values, `eager` the plain-torch form in
float32. Nothing wider than float64 is at hand, so its eager error is taken to be that of float32
times 2⁻²⁹, the ratio of their units. Errors are the largest over a tensor: single entries of
eager may be exact by luck. `terms` is the size of what cancels in a result that is (nearly) zero
by definition. Entries that are not finite must be the same in `ours` and `exact`.

Operands of 16 bits are judged by float32: `exact` and `eager` take the same stored values, the
loss is float32 and within float32's budget, and a gradient in 16 bits has that budget and one unit
in the last place of the largest entry of its row, for the one rounding when it is stored.

Where a temperature of 0.005 makes one rounding of one score felt, eager may be near the exact
result by luck, of a few numbers or of all. What misses the budget is therefore judged again, by
the largest error that eager makes on inputs that differ by some units in the last place: the same
problem, with roundings of its own. Not at edges, where inputs are what they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from case import Result, as_leaves, generator, run, to_dtype

# dtype: (for entries of a tensor, for a 0-dim result), relative to the largest exact entry.
# Eager's error in one number says little about the error of a sum of that many terms, so scalars
# get a wider floor.
FLOORS = {torch.float32: (1e-6, 1e-5), torch.float64: (5e-14, 5e-13)}
DTYPES = tuple(FLOORS)
HALVES = (torch.bfloat16, torch.float16)
UNIT_RATIO = {torch.float32: 1.0, torch.float64: 2.0**-29}


def computed_in(dtype):
    """The dtype of scores, sums and the loss, given that of the operands."""
    return torch.promote_types(dtype, torch.float32)


def floor_of(result):
    return FLOORS[computed_in(result.dtype)][result.dim() == 0]


def storage_unit(exact, dtype):
    """The unit in the last place of the largest entry of each row, if `dtype` has 16 bits."""
    if dtype not in HALVES or exact.numel() == 0:
        return 0.0
    info = torch.finfo(dtype)
    entries = exact.double().abs().nan_to_num(0.0, 0.0)
    row_max = entries.amax(-1, keepdim=True) if exact.dim() else entries
    power_of_two = torch.exp2(row_max.clamp(min=info.smallest_normal).log2().floor())
    return info.eps * power_of_two


def same_values(arguments, others):
    """Two calls, of different dtypes, whose exact result is one."""
    return all(
        torch.equal(value.double(), others[name].double())
        if isinstance(value, torch.Tensor)
        else value == others[name]
        for name, value in arguments.items()
    )


def largest_error(result, exact):
    """Largest |result − exact| over the entries where both are finite, in float64."""
    result, exact = result.double(), exact.double()
    error = torch.where(result.isfinite() & exact.isfinite(), (result - exact).abs(), 0.0)
    return error.max().item() if error.numel() else 0.0


def largest_excess(ours, exact, units):
    """Largest |ours − exact| beyond the units allowed to the entries."""
    excess = (ours.double() - exact.double()).abs() - units
    excess = torch.where(ours.isfinite() & exact.isfinite(), excess, 0.0)
    return excess.max().item() if excess.numel() else 0.0


def largest(exact):
    entries = exact.abs().nan_to_num(0.0, 0.0)
    return entries.max().item() if entries.numel() else 0.0


def assert_same_nonfinite(ours, exact, what):
    assert torch.equal(ours.isnan(), exact.isnan()), f"{what}: NaN at other places"
    infinite = exact.isinf()
    assert torch.equal(ours.isinf(), infinite), f"{what}: infinite at other places"
    assert torch.equal(ours[infinite].double(), exact[infinite].double()), f"{what}: sign of inf"


def assert_within(ours, exact, allowed, what, units=0.0):
    """`units` are allowed beside, entry by entry."""
    assert ours.shape == exact.shape, f"{what}: shape {tuple(ours.shape)}, not {exact.shape}"
    assert_same_nonfinite(ours, exact, what)
    error = largest_excess(ours, exact, units)
    assert error <= allowed, (
        f"{what}: error {error:.3e} > {allowed:.3e}, largest {largest(exact):.3e}"
    )


def assert_close(result, expected, what="result"):
    """Two computations of the same quantity in one dtype agree to rounding."""
    assert result.dtype == expected.dtype, what
    assert_within(result, expected, 8 * floor_of(expected) * largest(expected), what)


class Judge:
    """Knows the exact results of a call in some dtypes, and how far a function may be off.

    `make(dtype)` returns the arguments, of operands in `dtype`. `wrt` names the inputs whose
    gradients are judged (all that may require grad by default, () for the loss alone), `upstream`
    the gradient that is pulled back (random by default).
    """

    def __init__(self, case, make, wrt=None, terms=0.0, dtypes=DTYPES, upstream=None):
        self.arguments = {dtype: make(dtype) for dtype in dtypes}
        self.wrt = case.may_require_grad(next(iter(self.arguments.values())))
        self.wrt = self.wrt if wrt is None else wrt
        self.terms = terms
        self.upstream = upstream
        self.case = case
        self.errors_nearby = {}  # dtype: eager's errors on neighbouring inputs
        self.exact = {}
        for dtype, arguments in self.arguments.items():
            same = (other for other in self.exact if same_values(arguments, self.arguments[other]))
            self.exact[dtype] = self.exact.get(next(same, None)) or run(
                case.reference, to_dtype(arguments, torch.float64), self.wrt, upstream
            )
        # What float32 makes of the same stored values. `dtypes` has float32 if it has float64.
        self.eager = {
            dtype: run(
                case.eager or case.reference,
                to_dtype(arguments, torch.float32),
                self.wrt,
                upstream,
            )
            for dtype, arguments in self.arguments.items()
            if dtype != torch.float64
        }

    def accept(self, function):
        """Assert that `function` gives the right loss and gradients, in all dtypes."""
        for dtype, arguments in self.arguments.items():
            self.accept_result(run(function, arguments, self.wrt, self.upstream), dtype)

    def accept_loss(self, function):
        """The loss without gradients: the cheaper path."""
        for dtype, arguments in self.arguments.items():
            leaves = as_leaves(arguments, self.wrt)
            with torch.no_grad():
                self.accept_result(Result(function(**leaves), {}), dtype)

    def accept_result(self, ours, dtype):
        narrow = torch.float32 if dtype == torch.float64 else dtype
        exact, eager, eager_exact = self.exact[dtype], self.eager[narrow], self.exact[narrow]
        assert ours.loss.dtype == computed_in(dtype)
        self._accept(ours.loss, exact.loss, eager.loss, eager_exact.loss, dtype, "loss")
        for name, gradient in ours.gradients.items():
            eagers = eager.gradients[name], eager_exact.gradients[name]
            assert gradient.dtype == self.arguments[dtype][name].dtype, name
            allowed = self._accept(gradient, exact.gradients[name], *eagers, dtype, name)
            what = f"gradient of {name}"
            self._accept_as_vector(gradient, exact.gradients[name], *eagers, allowed, what)

    def storage_unit(self, exact, dtype):
        """What a result may be off by besides, entry by entry."""
        return storage_unit(exact, dtype)

    def _accept(self, ours, exact, eager, eager_exact, dtype, name):
        units = self.storage_unit(exact, ours.dtype)
        floor = floor_of(ours) * max(largest(exact), self.terms)
        ratio = UNIT_RATIO[computed_in(ours.dtype)]
        allowed = 2 * largest_error(eager, eager_exact) * ratio + floor
        if self.terms == 0.0 and largest_excess(ours, exact, units) > allowed:
            allowed = 2 * self._largest_error_nearby(dtype, name) * ratio + floor
        what = f"{'loss' if name == 'loss' else f'gradient of {name}'} in {ours.dtype}"
        assert_within(ours, exact, allowed, what, units)
        return allowed + (units.max().item() if isinstance(units, torch.Tensor) else units)

    def _largest_error_nearby(self, dtype, name):
        if dtype not in self.errors_nearby:
            self.errors_nearby[dtype] = self._errors_nearby(self.arguments[dtype])
        return self.errors_nearby[dtype][name]

    def _errors_nearby(self, arguments):
        errors = {}
        function = self.case.eager or self.case.reference
        narrow = to_dtype(arguments, torch.float32)
        for seed in range(10):
            nudged = dict(narrow)
            for name in self.case.operands:
                noise = torch.randn(narrow[name].shape, generator=generator(seed))
                nudged[name] = narrow[name] * (1 + 8 * torch.finfo(torch.float32).eps * noise)
            exact = run(
                self.case.reference, to_dtype(nudged, torch.float64), self.wrt, self.upstream
            )
            eager = run(function, nudged, self.wrt, self.upstream)
            pairs = {"loss": (eager.loss, exact.loss)} | {
                name: (eager.gradients[name], exact.gradients[name]) for name in self.wrt
            }
            for name, pair in pairs.items():
                errors[name] = max(errors.get(name, 0.0), largest_error(*pair))
        return errors

    def _accept_as_vector(self, ours, exact, eager, eager_exact, allowed, what):
        """The same direction, and no bias to one side: entry by entry an error looks small."""
        # Nothing but rounding, or 0 in eager's float32.
        smallest = max(self.terms, torch.finfo(torch.float32).tiny)
        if exact.numel() < 2 or not exact.isfinite().all() or largest(exact) <= smallest:
            return

        def turned_and_biased(mine, true):
            # Divided first: norms of 1e180 are squared on the way.
            unit_mine, unit_true = (
                F.normalize(x.flatten().double() / largest(x), dim=0) for x in (mine, true)
            )
            # 1 − cosine, without the difference.
            turned = (unit_mine - unit_true).square().sum().item() / 2
            return turned, (mine.double() - true.double()).sum().abs().item()

        turned, biased = turned_and_biased(ours, exact)
        eager_turned, eager_biased = turned_and_biased(eager, eager_exact)
        dtype = computed_in(ours.dtype)
        ratio, floor = UNIT_RATIO[dtype], FLOORS[dtype][0]
        if ours.dtype in HALVES:
            floor += torch.finfo(ours.dtype).eps ** 2  # of an angle from rounding, half its square
        assert turned <= 2 * eager_turned * ratio**2 + floor, f"{what}: turned by {turned:.3e}"
        # Errors without a bias add up like a random walk. Entries that are equal, as those of a
        # hinge, are rounded to the same side: that bias is the storage's.
        stored = (exact.to(ours.dtype).double() - exact).sum().abs().item()
        # A mean's divisor is rounded once, for all entries to the same side.
        common = torch.finfo(dtype).eps / 2 * exact.sum().abs().item()
        allowed = 2 * eager_biased * ratio + allowed * exact.numel() ** 0.5 + stored + common
        assert biased <= allowed, f"{what}: biased by {biased:.3e} > {allowed:.3e}"


def judge_of(case, variant, size, reduction, **options):
    """Of both dtypes, given the same values, those of float32: one exact result serves both."""

    def make(dtype):
        arguments = case.arguments(variant, size, torch.float32, reduction=reduction)
        return to_dtype(arguments, dtype)

    return Judge(case, make, **options)
