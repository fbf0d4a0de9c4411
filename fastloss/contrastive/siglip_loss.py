"""The pairwise sigmoid loss of SigLIP: every score a classification of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import _checks, _pairwise

_OPERATOR = _pairwise.Operator("siglip_loss", differentiable=(0, 1, 5, 6))


def siglip_loss(
    image: Tensor,
    text: Tensor,
    target: Tensor | None = None,
    *,
    logit_scale: float | Tensor = 10.0,
    logit_bias: float | Tensor = -10.0,
    similarity: str = "cosine",
    key_ids: Tensor | None = None,
    weights: Tensor | None = None,
    group: Any = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Sigmoid loss of all n × m pairs, of which one a row is a positive.

    .. math::
        L_i = \sum_j \log\big(1 + e^{-z_{ij} s_{ij}}\big),
        \qquad s_{ij} = \alpha\, \mathrm{sim}(x_i, y_j) + \beta,
        \qquad z_{ij} = \begin{cases} 1 & j = t(i) \\ -1 & \text{else} \end{cases}

    (Zhai et al. 2023). Without a normaliser one visit of a score gives all that it adds to the loss
    and to the gradients of embeddings, scale and bias. The n × m scores are never stored:
    temporaries stay within :func:`fastloss.workspace_limit`, beside gradient accumulators of the
    size of the inputs and O(n + m) numbers.

    Args:
        image: (n, d), float32, float64, bfloat16 or float16.
        text: (m, d), dtype and device of image.
        target: (n,) int64 in [0, m), the text of each image; −1: it has none, and every text is a
            negative. Default: 0 … n − 1 (then m ≥ n).
        logit_scale: α > 0, multiplies the similarity. A float or a 0-dim tensor, which may require
            grad.
        logit_bias: β, added to every score. A float or a 0-dim tensor, which may require grad.
        similarity: "cosine" (a zero row has similarity 0 and gradient 0), "dot", "euclidean"
            (−‖x − y‖) or "sqeuclidean" (−‖x − y‖²).
        key_ids: (m,) int64, names of the texts: a text with the id of the target, other than the
            target itself, leaves the row (duplicate captions). A row without a target keeps all.
        weights: (n,), not negative, one weight an image; without gradient.
        group: reserved for distributed batches; must be None.
        reduction: "mean" (Σ wᵢLᵢ / Σ wᵢ: over images, not pairs, as in the paper), "sum" or "none"
            (wᵢLᵢ).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; target out of range; negative weights; tensors
            without a defined gradient that require one. The message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.
        NotImplementedError: group is not None.

    Notes:
        With no image, or weights that sum to 0, the loss is 0 with zero gradients. A NaN in a row
        of either side gives NaN. With gradients three matrix products are done, however many texts
        there are, for "none" four; without gradients of image and text one. A side that does not
        require grad saves its product. Scores, sums and gradients are float32 for 16-bit operands,
        which are multiplied unrounded; gradients are rounded once, after the upstream gradient was
        applied. Values are summed by blocks, and these in float64: rows of many tiny values keep
        their digits. Sums are deterministic: the same bits at the same thread count, workspace
        limit and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> round(fastloss.siglip_loss(image, text, logit_scale=2.0, logit_bias=-1.0).item(), 4)
        1.0277

    References:
        Zhai, Mustafa, Kolesnikov, Beyer 2023, "Sigmoid Loss for Language Image Pre-Training",
        arXiv:2303.15343.
    """
    op = "siglip_loss"
    _checks.no_group(op, group)
    image, text = _pairwise.autocast(image, text)
    _checks.floating(op, "image", image)
    _checks.shape(op, "image", image, ("n", "d"))
    _checks.floating(op, "text", text, like=image, of="image")
    n, d = image.shape
    _checks.shape(op, "text", text, ("m", d), " with d as image")
    if d == 0:
        raise ValueError(f"{op}: image must have at least one feature, got {tuple(image.shape)}")
    if target is not None:
        _checks.vector(op, "target", target, image, image, integer=True, of="image")
    elif n > text.shape[0]:
        raise ValueError(
            f"{op}: text must have at least as many rows as image when target is not given, "
            f"got {text.shape[0]} texts for {n} images"
        )
    if key_ids is not None:
        _checks.vector(op, "key_ids", key_ids, image, text, integer=True, of="image")
    if weights is not None:
        _checks.vector(op, "weights", weights, image, image, integer=False, of="image")
        _checks.no_grad(op, "weights", weights)
    scale_tensor, scale = _checks.positive_scalar(op, "logit_scale", logit_scale, image, "image")
    bias_tensor, bias = _checks.scalar(op, "logit_bias", logit_bias, image, "image")
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    tensors = (image, text, target, key_ids, weights, scale_tensor, bias_tensor)
    return _pairwise.apply(_OPERATOR, tensors, (scale, bias, similarity), reduction)
