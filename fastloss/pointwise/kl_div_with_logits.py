"""Kullback–Leibler divergence between a distribution and the softmax of logits."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _pointwise

_DIRECTIONS = ("forward", "reverse")
_REDUCTIONS = ("batchmean", "mean", "sum", "none")


def kl_div_with_logits(
    input: Tensor,
    target: Tensor,
    *,
    direction: str = "forward",
    log_target: bool = False,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Kullback–Leibler divergence of target and softmax(input), without the log-softmax.

    .. math::
        \text{forward:}\ \ L_i = \sum_c t_{ic} (\log t_{ic} - \log p_{ic}), \qquad
        \text{reverse:}\ \ L_i = \sum_c p_{ic} (\log p_{ic} - \log t_{ic}),
        \qquad p_i = \mathrm{softmax}(z_i)

    Distillation from a teacher's probabilities (forward, mass-covering), or towards one of their
    modes (reverse). 0 · log 0 = 0.

    The softmax is never stored: beside the arguments and the returned gradient stand four numbers
    a row.

    Args:
        input: (n, c) logits z, float32, float64, bfloat16 or float16; or (c,), a single row.
        target: t, in the shape of input, any floating dtype of those: probabilities in [0, 1], or
            with log_target their logarithms; without gradient. Forward takes rows as they are,
            normalised or not.
        direction: "forward", KL(t ‖ p), or "reverse", KL(p ‖ t).
        log_target: target holds log t.
        reduction: "batchmean", which is also "mean" (Σᵢ Lᵢ / n), "sum", or "none" (a loss a row).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit input, else input's dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; a probability outside [0, 1] (above 1 by more
            than a rounding); a target that requires grad. The message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        "forward" has the values of ``kl_div(log_softmax(input, -1), target, reduction=…)``, but
        that "mean" divides by n, not by n · c. Its gradient is that of cross-entropy with the same
        target. "reverse" is inf where a class with p > 0 has t = 0. A class with a logit of −inf
        has p = 0; a row with no other class has nothing to average. A NaN gives NaN. The arguments
        are read once in the forward and once in the backward pass; sums and gradients are float32
        for 16-bit input, and gradients are rounded once, after the upstream gradient was applied.
        Results are deterministic. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> input = torch.zeros(1, 2)
        >>> target = torch.tensor([[1.0, 0.0]])
        >>> round(fastloss.kl_div_with_logits(input, target).item(), 4)  # log 2
        0.6931

    References:
        Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network",
        arXiv:1503.02531.
    """
    op = "kl_div_with_logits"
    _checks.floating(op, "input", input)
    if input.dim() not in (1, 2):
        _checks.shape(op, "input", input, ("n", "c"), " or (c,)")
    _checks.floating(op, "target", target)
    _checks.beside(op, "target", target, input, (*input.shape,), of="input", why=" as input")
    _checks.choice(op, "direction", direction, _DIRECTIONS)
    _checks.flag(op, "log_target", log_target)
    _checks.choice(op, "reduction", reduction, _REDUCTIONS)
    return _pointwise.apply(op, (input, target), (direction, log_target), reduction)
