"""Cross-entropy of a linear layer's logits, without the logits."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _pairwise

_OPERATOR = _pairwise.Operator("linear_cross_entropy", differentiable=(0, 1, 3))


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross-entropy of ``linear(input, linear_weight, linear_bias)``, without the (n, c) logits.

    .. math::
        L_i = (1 - \varepsilon)\, w_{t_i} (\mathrm{lse}_i - s_{i,t_i})
            + \frac{\varepsilon}{c} \sum_k w_k (\mathrm{lse}_i - s_{ik}),
        \qquad s_{ik} = \langle x_i, W_k \rangle + b_k,
        \quad \mathrm{lse}_i = \log \sum_k e^{s_{ik}}

    The full-catalogue softmax of a recommender, the head of a classifier or a language model. The
    arguments are those of ``torch.nn.functional.linear_cross_entropy``.

    The logits are never stored: temporaries stay within :func:`fastloss.workspace_limit`, beside
    gradient accumulators of the size of the inputs, O(n + c) numbers and, if some rows are ignored,
    a copy of the others.

    Args:
        input: (n, d), float32, float64, bfloat16 or float16; or (d,), a single row.
        linear_weight: (c, d), one row a class; dtype and device of input.
        target: (n,) int64 in [0, c) or ignore_index; 0-dim for a single row.
        linear_bias: (c,), floating. −inf removes a class: from the denominators and from the
            classes that share the smoothing.
        weight: (c,), not negative, one weight a class; without gradient.
        ignore_index: rows with this target are left out and never read. None ignores nothing.
        label_smoothing: ε in [0, 1].
        reduction: "mean" (Σᵢ Lᵢ / Σᵢ w_tᵢ over the rows kept), "sum" or "none".

    Returns:
        A 0-dim tensor, or (n,) for "none" (0 where ignored); float32 for 16-bit operands, else
        their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype, class probabilities as target.
        ValueError: a wrong shape, device or value; target out of range; negative weight; a weight
            that requires grad. The message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.

    Notes:
        Values are those of ``cross_entropy(linear(input, linear_weight, linear_bias), target, …)``
        with three exceptions: if all rows are ignored, or their weights sum to 0, the mean is 0
        with zero gradients (torch: NaN); 16-bit operands give a float32 loss; smoothing skips
        removed classes (torch: inf). A row whose target is removed has loss inf. A NaN in a row
        that is kept, or in any class, gives NaN. "mean" and "sum" form the gradients in the
        forward pass (three matrix products in all), "none" recomputes the scores (four); without
        gradients one product is done. Scores, sums and gradients are float32 for 16-bit operands,
        which are multiplied unrounded; gradients are rounded once, after the upstream gradient was
        applied. Sums are deterministic: the same bits at the same thread count, workspace limit
        and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> input = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
        >>> linear_weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
        >>> target = torch.tensor([0, 1, -100])
        >>> round(fastloss.linear_cross_entropy(input, linear_weight, target).item(), 4)
        0.4076

    References:
        Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models",
        arXiv:2411.09009.
    """
    op = "linear_cross_entropy"
    input, linear_weight = _pairwise.autocast(input, linear_weight)
    _checks.floating(op, "input", input)
    if input.dim() == 1:
        _checks.shape(op, "target", _checks.tensor(op, "target", target), ())
        loss = linear_cross_entropy(
            input.unsqueeze(0), linear_weight, target.unsqueeze(0), linear_bias=linear_bias,
            weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing,
            reduction=reduction,
        )  # fmt: skip
        return loss.squeeze(0) if reduction == "none" else loss
    _checks.shape(op, "input", input, ("n", "d"))
    _checks.floating(op, "linear_weight", linear_weight, like=input, of="input")
    d = input.shape[1]
    _checks.shape(op, "linear_weight", linear_weight, ("c", d), " with d as input")
    if d == 0:
        raise ValueError(f"{op}: input must have at least one feature, got {tuple(input.shape)}")
    _checks.vector(op, "target", target, input, input, integer=True, of="input")
    if linear_bias is not None:
        _checks.vector(
            op, "linear_bias", linear_bias, input, linear_weight, integer=False, of="input"
        )
    if weight is not None:
        _checks.vector(op, "weight", weight, input, linear_weight, integer=False, of="input")
        _checks.no_grad(op, "weight", weight)
    if ignore_index is not None and (
        isinstance(ignore_index, bool) or not isinstance(ignore_index, int)
    ):
        raise TypeError(
            f"{op}: ignore_index must be an int or None, got {type(ignore_index).__name__}"
        )
    smoothing = _checks.in_range(op, "label_smoothing", label_smoothing, 0.0, 1.0)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    tensors = (input, linear_weight, target, linear_bias, weight)
    return _pairwise.apply(_OPERATOR, tensors, (ignore_index, smoothing), reduction)
