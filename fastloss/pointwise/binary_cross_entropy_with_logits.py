"""Binary cross-entropy of logits."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _pointwise


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Binary cross-entropy of logits with target probabilities, as torch's.

    .. math::
        L = w \left[v\, y\, \mathrm{softplus}(-z) + (1 - y)\, \mathrm{softplus}(z)\right]
          = -w \left[v\, y \log \sigma(z) + (1 - y) \log (1 - \sigma(z))\right]

    The point-wise training mode of a recommender: every item is relevant or not. The arguments are
    those of ``torch.nn.functional.binary_cross_entropy_with_logits``.

    The terms are never stored: the input is read once in each pass, and beside it stand the
    returned gradient and, where the target is stored in another type, a copy of that.

    Args:
        input: logits z, any shape; float32, float64, bfloat16 or float16.
        target: y, in the shape of input: labels 0 and 1 (floating, integer or boolean) or
            probabilities; without gradient. Values outside [0, 1] are taken as they are.
        weight: w, not negative, in a shape that can be repeated to input's; without gradient.
        pos_weight: v, the weight of the positive term, likewise; (c,) for c labels in the last
            dimension.
        reduction: "mean" (over the elements; weights do not enter the divisor), "sum" or "none".

    Returns:
        A 0-dim tensor, or one of input's shape for "none"; float32 for 16-bit input, else input's
        dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; a negative weight; a target or weight that
            requires grad. The message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Values are torch's; an empty input gives 0 (torch: NaN), 16-bit input a float32 loss. An
        element of weight 0 takes no part, whatever its logit, and an infinite logit on the side of
        a label of 0 or 1 costs 0 (torch: NaN). A NaN gives NaN. Value and derivative are sums of
        terms without cancellation, so that small ones keep full relative precision. Sums and
        gradients are float32 for 16-bit input, and gradients are rounded once, after the upstream
        gradient was applied. Results are deterministic. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> input, target = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
        >>> round(fastloss.binary_cross_entropy_with_logits(input, target).item(), 4)
        1.41

    References:
        Good 1952, "Rational Decisions" (the logarithmic score).
    """
    op = "binary_cross_entropy_with_logits"
    _checks.floating(op, "input", input)
    _checks.beside(
        op, "target", target, input, (*input.shape,), of="input", why=" as input", integer=True
    )
    if weight is not None:
        _pointwise.broadcast_weight(op, "weight", weight, input)
    if pos_weight is not None:
        _pointwise.broadcast_weight(op, "pos_weight", pos_weight, input)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    return _pointwise.apply(op, (input, target, weight, pos_weight), (), reduction)
