"""Sampled softmax: a row's positive against negatives that were drawn for it."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _sampled


def sampled_softmax_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    positive_log_q: Tensor | None = None,
    negative_log_q: Tensor | None = None,
    negative_where: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Softmax cross-entropy of a positive score against sampled negatives.

    .. math::
        L_b = \log\left(e^{z_b^+} + \sum_j e^{z_{bj}}\right) - z_b^+, \qquad
        z^+ = s^+ / \tau - \log q^+, \quad z_j = s_j / \tau - \log q_j

    The list-wise training mode of a recommender whose catalogue is too large for a full softmax
    (Bengio & Senécal 2008). With q the probability by which an item is drawn, the correction makes
    the sampled gradient that of the full softmax in the limit of many negatives.

    The softmax is never stored apart: beside the scores stand gradients of their size.

    Args:
        positive: (b,) scores, float32, float64, bfloat16 or float16.
        negative: (b, n) scores; dtype and device of positive.
        temperature: τ > 0, divides the scores. A float or a 0-dim tensor, which may require grad.
        positive_log_q: (b,), log q of the positives, subtracted after τ; without gradient. Each
            log_q corrects its own side only.
        negative_log_q: (b, n), log q of the negatives, likewise.
        negative_where: boolean, in the shape of negative; False leaves a score out, which may then
            hold anything (accidental hits, padding).
        weights: (b,), not negative, one weight a row; without gradient.
        reduction: "mean" (Σ w_b L_b / Σ w_b), "sum" or "none" (w_b L_b).

    Returns:
        A 0-dim tensor, or (b,) for "none"; float32 for 16-bit scores, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; negative weights; weights or log_q that require
            grad. The message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        A row whose negatives are all left out has loss 0 and counts. A row of weight 0 takes no
        part. A NaN in a score that is kept gives NaN. The loss is computed as softplus of the gap
        between negatives and positive, so that small losses keep full relative precision.
        Gradients are formed in the forward pass, if wanted. Sums and gradients are float32 for
        16-bit scores, and gradients are rounded once, after the upstream gradient was applied.
        Results are deterministic. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> positive, negative = torch.tensor([1.0]), torch.tensor([[-1.0, -1.0, -1.0]])
        >>> round(fastloss.sampled_softmax_loss(positive, negative).item(), 4)
        0.3408
        >>> loss = fastloss.sampled_softmax_loss(positive, negative, temperature=0.2)
        >>> f"{loss.item():.3g}"
        '0.000136'

    References:
        Bengio & Senécal 2008, "Adaptive Importance Sampling to Accelerate Training of a Neural
        Probabilistic Language Model". Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling for
        Large Corpus Item Recommendations".
    """
    op = "sampled_softmax_loss"
    _checks.floating(op, "positive", positive)
    _checks.shape(op, "positive", positive, ("b",))
    _checks.floating(op, "negative", negative, like=positive, of="positive")
    b = positive.shape[0]
    _checks.shape(op, "negative", negative, (b, "n"), " with b as positive")
    shape = (b, negative.shape[1])
    if positive_log_q is not None:
        _checks.beside(op, "positive_log_q", positive_log_q, positive, (b,), of="positive")
    if negative_log_q is not None:
        _checks.beside(op, "negative_log_q", negative_log_q, positive, shape, of="positive")
    if negative_where is not None:
        _checks.mask(op, "negative_where", negative_where, negative, shape, "negative")
    _sampled.row_weights(op, weights, positive)
    tau_tensor, tau = _checks.positive_scalar(
        op, "temperature", temperature, positive, of="positive"
    )
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    tensors = (
        positive.unsqueeze(1), negative, positive_log_q, negative_log_q, negative_where, weights,
        tau_tensor,
    )  # fmt: skip
    return _sampled.apply(op, (0, 1, 6), tensors, (tau,), reduction)
