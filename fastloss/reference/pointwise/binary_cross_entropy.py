"""Binary cross-entropy of probabilities by its definition."""

from __future__ import annotations

from torch import Tensor

from ..reduction import reduce_elements, without_unweighted


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.binary_cross_entropy`, see there.

    Stores both logarithms. Gradients come from autograd, of a loss whose derivative is written down
    because torch's is not that of its clamped logarithm.
    """
    input = without_unweighted(input, weight, 0.5)
    target = target.to(input.dtype)
    p = input.detach()
    loss = -target * p.log().clamp(min=-100) - (1 - target) * (-p).log1p().clamp(min=-100)
    derivative = (p - target) / (p * (1 - p)).clamp(min=1e-12)
    # Adds exactly 0, with the derivative as its gradient.
    loss = loss + derivative * (input - p)
    return reduce_elements(loss, weight, reduction, divide_by_weights=False)
