"""The symmetric contrastive loss of CLIP: image against text and text against image."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import _checks, _pairwise

_OPERATOR = _pairwise.Operator("clip_loss", differentiable=(0, 1, 4))


def clip_loss(
    image: Tensor,
    text: Tensor,
    *,
    logit_scale: float | Tensor = 100.0,
    logit_bias: float | Tensor | None = None,
    similarity: str = "cosine",
    key_ids: Tensor | None = None,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    group: Any = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Symmetric contrastive loss of n pairs, row i of image with row i of text.

    .. math::
        L_i = \frac12 \Big( \log \sum_j e^{s_{ij}} - s_{ii} \Big)
            + \frac12 \Big( \log \sum_j e^{s_{ji}} - s_{ii} \Big),
        \qquad s_{ij} = \alpha\, \mathrm{sim}(x_i, y_j)

    (Radford et al. 2021). One pass over the scores serves both directions. The n × n scores are
    never stored unless all of them fit :func:`fastloss.workspace_limit`: temporaries stay within
    it, beside gradient accumulators of the size of the inputs, O(n) numbers, and a few numbers a
    column and thousand rows.

    Args:
        image: (n, d), float32, float64, bfloat16 or float16.
        text: (n, d), dtype and device of image.
        logit_scale: α > 0, multiplies the similarity (1 / temperature). A float or a 0-dim tensor,
            which may require grad.
        logit_bias: a number added to every score, float or 0-dim tensor. It cancels in both
            softmaxes: the loss does not depend on it and its gradient is 0. Accepted for models
            that have one (SigLIP's).
        similarity: "cosine" (a zero row has similarity 0 and gradient 0), "dot", "euclidean" or
            "sqeuclidean" (both negative distances).
        key_ids: (n,) int64, names of the pairs: a pair with the same id as pair i leaves the
            denominators of row i and column i (duplicate captions or images).
        label_smoothing: in [0, 1], spread uniformly over the allowed scores of a row or column.
        weights: (n,), not negative, one weight a pair; without gradient.
        group: reserved for distributed batches; must be None.
        reduction: "mean" (Σ wᵢLᵢ / Σ wᵢ), "sum" or "none" (wᵢLᵢ).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, negative weights, weights that require grad. The
            message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.
        NotImplementedError: group is not None.

    Notes:
        With no pair, or weights that sum to 0, the loss is 0 with zero gradients. A NaN in any row
        gives NaN. Without gradients one matrix product is done, with gradients four, or three if
        the scores fit the workspace; "none" takes four. Scores, sums and gradients are float32 for
        16-bit operands, which are multiplied unrounded; gradients are rounded once, after the
        upstream gradient was applied. Sums are deterministic: the same bits at the same thread
        count, workspace limit and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> round(fastloss.clip_loss(image, text, logit_scale=2.0).item(), 4)
        0.3701

    References:
        Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
        Supervision", arXiv:2103.00020.
    """
    op = "clip_loss"
    _checks.no_group(op, group)
    image, text = _pairwise.autocast(image, text)
    _checks.floating(op, "image", image)
    _checks.shape(op, "image", image, ("n", "d"))
    _checks.floating(op, "text", text, like=image, of="image")
    n, d = image.shape
    _checks.shape(op, "text", text, (n, d), " as image")
    if d == 0:
        raise ValueError(f"{op}: image must have at least one feature, got {tuple(image.shape)}")
    if key_ids is not None:
        _checks.vector(op, "key_ids", key_ids, image, text, integer=True, of="image")
    if weights is not None:
        _checks.vector(op, "weights", weights, image, image, integer=False, of="image")
        _checks.no_grad(op, "weights", weights)
    scale_tensor, scale = _checks.positive_scalar(op, "logit_scale", logit_scale, image, "image")
    if isinstance(logit_bias, Tensor):
        _checks.scalar_tensor(op, "logit_bias", logit_bias, image, "image")
    elif logit_bias is not None:
        _checks.number(op, "logit_bias", logit_bias)
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    smoothing = _checks.in_range(op, "label_smoothing", label_smoothing, 0.0, 1.0)
    tensors = (image, text, key_ids, weights, scale_tensor)
    loss = _pairwise.apply(_OPERATOR, tensors, (scale, similarity, smoothing), reduction)
    if isinstance(logit_bias, Tensor):
        loss = loss + 0 * logit_bias.to(loss.dtype)  # connected, with gradient 0
    return loss
