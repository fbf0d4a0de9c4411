"""What a loss declares about itself so that the generic tests can run it.

Vocabulary:
  inputs      every tensor a loss can take, drawn once for a size: {"query": …, "key": …}
  arguments   what one call gets: the required inputs, some optional ones, and options
  variant     which optional inputs and which options; it has a name, for readable test ids
  size        a NamedTuple of the loss's family. Its `resized(n, m, d, h)` makes another one of n
              rows, m columns, d features and h own negatives, as far as the family has such
              things (lists: n lists of up to m items); what is None stays. Its `is_trivial` tells
              that the gradients are zero by definition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

import fastloss
import fastloss.nn
import fastloss.reference

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    # Optional inputs by argument; the value is the name of the drawn input.
    inputs: Mapping[str, str] = field(default_factory=dict)

    def __str__(self):
        return self.name

    @property
    def kind(self):
        """Its name without the similarity or the layout, by which tests choose a few of many."""
        return self.name.split(", ")[-1]


@dataclass(frozen=True)
class Invariance:
    """A change of the arguments whose effect on the loss of every row is known.

    `change(arguments, generator)` returns the changed arguments and a function from the rows
    before to the rows after; None where the change does not apply to these arguments.
    """

    name: str
    change: Callable[[Arguments, torch.Generator], tuple[Arguments, Callable] | None]

    def __str__(self):
        return self.name


@dataclass(frozen=True)
class Edge:
    """Arguments at the edge of the definition, in a given dtype.

    `rows` are the expected losses with reduction="none" where they can be written down; the
    reference decides otherwise. `gradients=False` where the definition leaves them open (NaN).
    `terms`: the size of the terms of a sum where they cancel to (nearly) nothing.
    """

    name: str
    arguments: Callable[[torch.dtype], Arguments]
    rows: list[float] | None = None
    gradients: bool = True
    terms: float = 1.0

    def __str__(self):
        return self.name


@dataclass(frozen=True)
class Error:
    """Changed arguments of a good call, the exception they raise and the argument it names."""

    name: str
    change: Callable[[Arguments], Arguments]
    exception: type[Exception] | tuple[type[Exception], ...]
    mentions: str

    def __str__(self):
        return self.name


@dataclass(frozen=True, repr=False)
class Case:
    name: str  # one stem: fastloss.<name>, fastloss.reference.<name>, operators <name>_*
    module: str | None  # fastloss.nn.<module>
    module_options: tuple[str, ...]  # the options its constructor takes, beside `reduction`
    draw: Callable[[torch.Generator, torch.dtype, Any], dict[str, torch.Tensor]]
    required: tuple[str, ...]
    sizes: tuple[Any, ...]  # the variants meet the first two, the first variant all of them
    small: Any  # a size for gradcheck, compilation, fuzzing
    large: Any  # a size at which memory and threads can be measured
    variants: tuple[Variant, ...]
    differentiable: tuple[str, ...]
    # The tensors that share the dtype of the call: the two embedding sets that are multiplied, or
    # the scores.
    operands: tuple[str, ...] = ("query", "key")
    has_reduction: bool = True  # else the loss is its rows, as with reduction="none"
    rows_are_independent: bool = True  # a row of the first operand enters one loss only
    recomputes_none: bool = True  # "none" forms gradients in backward, from vectors
    has_operators: bool = True  # else it is made of torch's functions and other losses
    follows_autocast: bool = True  # operands are cast as torch.matmul casts them, else kept
    # Inputs that belong together, as scores and the mask of those that are no number: no test may
    # exchange the rows of one alone.
    coupled: tuple[str, ...] = ()
    # Many rows, and few with many columns, for the tests of threads: (n, m).
    thread_sizes: tuple[tuple[int, int], ...] = ((130, 300), (3, 2500))
    # Variants, by name, for tests that take long: compilation, operators, memory.
    few: tuple[str, ...] = (
        *("cosine, plain", "dot, smoothing all", "dot, plain", "dot, dim 0 all"),
        *("euclidean, decoupled all", "euclidean, ids all", "euclidean, all"),
    )
    # The function's scale and the constructor's, which may be learnable.
    scale: tuple[str, str] | None = None
    # Other numbers that its module may learn: the function's argument → the constructor's.
    held: Mapping[str, str] = field(default_factory=dict)
    eager: Callable | None = None  # how a user writes it in torch; the reference by default
    invariances: tuple[Invariance, ...] = ()
    edges: tuple[Edge, ...] = ()
    errors: tuple[Error, ...] = ()
    # Peak extra bytes without the workspace: (arguments, names requiring grad) → bytes. None
    # leaves the loss out of test_memory.py.
    memory_bound: Callable[[Arguments, tuple[str, ...]], int] | None = None
    # Multiply-adds of its matrix products, lower and upper bound (tiles are padded):
    # (arguments, names requiring grad) → (least, most). None: it has none.
    products: Callable[[Arguments, tuple[str, ...]], tuple[int, int]] | None = None

    def __repr__(self):
        return self.name

    @property
    def is_pairwise(self):
        """It multiplies two embedding sets, in tiles within the workspace limit."""
        return self.products is not None

    @property
    def few_variants(self):
        return tuple(variant for variant in self.variants if variant.name in self.few)

    @property
    def function(self):
        return getattr(fastloss, self.name)

    @property
    def reference(self):
        return getattr(fastloss.reference, self.name)

    @property
    def module_type(self):
        return getattr(fastloss.nn, self.module)

    def make_module(self, **options):
        """The module with the function's options, and with `learnable` where it has a scale."""
        if self.scale is not None:
            ours, theirs = self.scale
            renamed = {ours: theirs, **self.held}
            options = {renamed.get(name, name): value for name, value in options.items()}
            options.setdefault("learnable", False)
        return self.module_type(**options)

    def arguments(self, variant: Variant, size, dtype=torch.float64, seed=0, **options):
        inputs = self.draw(generator(seed), dtype, size)
        chosen = {name: inputs[name] for name in self.required}
        chosen |= {name: inputs[source] for name, source in variant.inputs.items()}
        chosen |= dict(variant.options)
        if "reduction" in options:
            chosen = self.reduced(chosen, options.pop("reduction"))
        return chosen | options

    def reduced(self, arguments: Arguments, reduction: str) -> Arguments:
        """The same call with a reduction, if the loss has one (conftest.py sees to the others)."""
        return arguments | {"reduction": reduction} if self.has_reduction else arguments

    def may_require_grad(self, arguments: Arguments) -> tuple[str, ...]:
        return tuple(
            name for name in self.differentiable if isinstance(arguments.get(name), torch.Tensor)
        )


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@dataclass
class Result:
    loss: torch.Tensor
    gradients: dict[str, torch.Tensor]


def to_dtype(arguments: Arguments, dtype: torch.dtype) -> Arguments:
    """The same stored values in another floating dtype; what is one object stays one object."""
    cast: dict[int, torch.Tensor] = {}
    for value in arguments.values():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            cast[id(value)] = value.detach().to(dtype)
    return {name: cast.get(id(value), value) for name, value in arguments.items()}


def as_leaves(arguments: Arguments, wrt: tuple[str, ...]) -> Arguments:
    """Detached arguments, `wrt` requiring grad. Strides are kept; one object stays one object."""
    leaves: dict[int, torch.Tensor] = {}
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            leaf = leaves.setdefault(id(value), value.detach())
            if name in wrt:
                leaf.requires_grad_()
    return {name: leaves.get(id(value), value) for name, value in arguments.items()}


def run(function, arguments: Arguments, wrt: tuple[str, ...] = (), upstream=None) -> Result:
    """Call `function`; with `wrt`, also pull `upstream` (random by default) back to them."""
    arguments = as_leaves(arguments, wrt)
    loss = function(**arguments)
    if not wrt:
        return Result(loss.detach(), {})
    if upstream is None:
        upstream = random_upstream(loss)
    gradients = torch.autograd.grad(loss, [arguments[name] for name in wrt], upstream.to(loss))
    return Result(loss.detach(), dict(zip(wrt, gradients, strict=True)))


def random_upstream(loss: torch.Tensor, seed: int = 17) -> torch.Tensor:
    """Never all ones: a backward that forgets the upstream gradient must not pass."""
    values = torch.randn(loss.shape, generator=generator(seed), dtype=torch.float64)
    return (values + 0.3).to(loss.dtype)
