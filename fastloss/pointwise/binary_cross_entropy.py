"""Binary cross-entropy of probabilities."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _pointwise


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Binary cross-entropy of probabilities with target probabilities, as torch's.

    .. math::
        L = -w \left[y \log p + (1 - y) \log (1 - p)\right], \qquad \log \ge -100

    The arguments are those of ``torch.nn.functional.binary_cross_entropy``. Where there are logits,
    :func:`fastloss.binary_cross_entropy_with_logits` is the better loss: a probability next to 1
    has lost the digits that the derivative needs.

    The logarithms are never stored: the input is read once in each pass, and beside it stand the
    returned gradient and, where the target is stored in another type, a copy of that.

    Args:
        input: probabilities p in [0, 1], any shape; float32, float64, bfloat16 or float16.
        target: y in [0, 1], in the shape of input: labels 0 and 1 (floating, integer or boolean)
            or probabilities; without gradient.
        weight: w, not negative, in a shape that can be repeated to input's; without gradient.
        reduction: "mean" (over the elements; weights do not enter the divisor), "sum" or "none".

    Returns:
        A 0-dim tensor, or one of input's shape for "none"; float32 for 16-bit input, else input's
        dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; a probability outside [0, 1]; a negative
            weight; a target or weight that requires grad. The message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Values and gradients are torch's: a logarithm never falls below −100, the denominator of the
        derivative (p − y) / (p (1 − p)) never below 1e-12. An empty input gives 0 (torch: NaN),
        16-bit input a float32 loss. An element of weight 0 takes no part. A NaN gives NaN (torch:
        an error). Sums and gradients are float32 for 16-bit input, and gradients are rounded once,
        after the upstream gradient was applied. Results are deterministic. Second derivatives are
        not defined.

    Example:
        >>> import torch, fastloss
        >>> input, target = torch.tensor([0.5, 0.9]), torch.tensor([1.0, 0.0])
        >>> round(fastloss.binary_cross_entropy(input, target).item(), 4)
        1.4979

    References:
        Good 1952, "Rational Decisions" (the logarithmic score).
    """
    op = "binary_cross_entropy"
    _checks.floating(op, "input", input)
    _checks.beside(
        op, "target", target, input, (*input.shape,), of="input", why=" as input", integer=True
    )
    if weight is not None:
        _pointwise.broadcast_weight(op, "weight", weight, input)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    return _pointwise.apply(op, (input, target, weight), (), reduction)
