"""Cross-entropy of logits, without their log-softmax."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _pointwise


def cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross-entropy of logits with class indices or class probabilities, as torch's.

    .. math::
        L_i = \sum_c q_{ic} (\mathrm{lse}_i - z_{ic}), \qquad
        q_{ic} = w_c \left((1 - \varepsilon)\, t_{ic} + \varepsilon / C\right),
        \quad \mathrm{lse}_i = \log \sum_c e^{z_{ic}}

    with :math:`t_{ic} = [c = t_i]` for class indices. The arguments are those of
    ``torch.nn.functional.cross_entropy``.

    The log-softmax is never stored: beside the input and its returned gradient stand six numbers a
    row, where torch keeps two more tensors of the size of the input.

    Args:
        input: (n, c) logits, float32, float64, bfloat16 or float16; or (c,), a single row; or
            (n, c, d1, …), a row at every place.
        target: int64 in [0, c) or ignore_index, in the shape of input without its classes; or
            probabilities of the classes, floating, in the shape of input, each in [0, 1]. Without
            gradient.
        weight: (c,), not negative, one weight a class; without gradient.
        ignore_index: rows with this target are left out and never read. None ignores nothing. With
            probabilities it must be negative, as it has no meaning there.
        label_smoothing: ε in [0, 1].
        reduction: "mean" (Σᵢ Lᵢ / Σᵢ w_tᵢ over the rows kept; with probabilities Σᵢ Lᵢ / n), "sum"
            or "none".

    Returns:
        A 0-dim tensor, or a loss a row for "none" (0 where ignored); float32 for 16-bit input, else
        input's dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; a class out of range; a probability outside
            [0, 1] (above 1 by more than a rounding); a negative weight; a target or weight that
            requires grad. The message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Values are torch's, with these exceptions: if all rows are ignored, or their weights sum to
        0, the mean is 0 with zero gradients (torch: NaN); 16-bit input gives a float32 loss; a
        logit of −inf removes its class, also from the smoothing, and a probability of 0 does not
        see it (torch: inf and NaN). A row with no class left has nothing to average, one whose
        target is removed has loss inf. A NaN in a row that is kept gives NaN. The loss of a class
        index is computed as softplus of the gap between the other logits and the target's, so that
        small losses keep full relative precision. The input is read once in the forward and once
        in the backward pass; sums and gradients are float32 for 16-bit input, and gradients are
        rounded once, after the upstream gradient was applied. Results are deterministic. Second
        derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> input = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> round(fastloss.cross_entropy(input, torch.tensor([0, 1])).item(), 4)
        0.3955

    References:
        Milakov & Gimelshein 2018, "Online normalizer calculation for softmax", arXiv:1805.02867.
    """
    op = "cross_entropy"
    _checks.floating(op, "input", input)
    if input.dim() == 0:
        _checks.shape(op, "input", input, ("n", "c"), ", (c,) or (n, c, d1, …)")
    target = _checks.tensor(op, "target", target)
    classes = input.shape[1 if input.dim() > 1 else 0]
    if ignore_index is not None and (
        isinstance(ignore_index, bool) or not isinstance(ignore_index, int)
    ):
        raise TypeError(
            f"{op}: ignore_index must be an int or None, got {type(ignore_index).__name__}"
        )
    if target.dtype.is_floating_point:
        _checks.floating(op, "target", target)
        _checks.beside(
            op, "target", target, input, (*input.shape,), of="input",
            why=" as input, for class probabilities",
        )  # fmt: skip
        if ignore_index is not None and ignore_index >= 0:
            raise ValueError(
                f"{op}: ignore_index must be negative or None with class probabilities, "
                f"got {ignore_index}"
            )
    else:
        _checks.indices(
            op, "target", target, input, (*input.shape[:1], *input.shape[2:])[: input.dim() - 1],
            of="input", why=", that of input without its classes",
        )  # fmt: skip
    if weight is not None:
        _checks.beside(op, "weight", weight, input, (classes,), of="input")
    smoothing = _checks.in_range(op, "label_smoothing", label_smoothing, 0.0, 1.0)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    return _pointwise.apply(op, (input, target, weight), (ignore_index, smoothing), reduction)
