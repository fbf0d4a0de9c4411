"""Triplet margin loss: an anchor nearer to its positive than to its negatives."""

from __future__ import annotations

from torch import Tensor

from .. import _checks, _rowwise

HINGES = ("relu", "softplus")
DISTANCES = ("euclidean", "sqeuclidean")


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    similarity: str = "euclidean",
    p: float = 2.0,
    eps: float = 0.0,
    swap: bool = False,
    hinge: str = "relu",
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Triplet margin loss of every anchor, its positive and its negatives.

    .. math::
        L_i = \sum_j \mathrm{hinge}\left(d(a_i, p_i) - d(a_i, n_{ij}) + m\right)

    (Weinberger & Saul 2009, Schroff et al. 2015.) With ``similarity="dot"`` it is the recommender's
    :math:`\max(0, m - \langle u, v^+\rangle + \langle u, v^-\rangle)`; with ``hinge="softplus"``
    and ``margin=0`` the soft margin of Hermans et al. 2017.

    Differences and distances are never stored: beside the gradients that are returned stands one
    number a triplet.

    Args:
        anchor: (n, d), float32, float64, bfloat16 or float16.
        positive: (n, d), dtype and device of anchor.
        negative: (n, d), or (n, h, d), h negatives of each anchor.
        margin: m ≥ 0.
        similarity: what d is: "euclidean" (‖x − y‖), "sqeuclidean" (‖x − y‖²), "cosine" (1 −
            cosine; a zero row has cosine 0 and gradient 0) or "dot" (−⟨x, y⟩).
        p: the norm of "euclidean", at least 1; 2 with any other similarity.
        eps: not negative, added to every difference x − y; 1e-6 gives the values of
            ``torch.nn.functional.triplet_margin_loss``. 0 where there is no difference.
        swap: take the smaller one of d(a, n) and d(p, n) as the negative's distance (Balntas et al.
            2016), d(a, n) if they are equal.
        hinge: "relu" (max(0, x)) or "softplus" (log(1 + eˣ)).
        weights: (n,), not negative, one weight an anchor; without gradient.
        reduction: "mean" over triplets (Σ wᵢLᵢ / (h Σ wᵢ)), "sum" or "none" (wᵢLᵢ).

    Returns:
        A 0-dim tensor, or (n,) for "none"; float32 for 16-bit operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value; negative weights; weights that require grad. The
            message names the argument.
        RuntimeError: CUDA tensors (this loss has no CUDA kernels).

    Notes:
        Without anchors or negatives the loss is 0 with zero gradients. An anchor of weight 0 takes
        no part. A NaN in a row gives NaN. Gradients are 0 where the hinge begins and at distance 0.
        Distances come from the differences themselves, so that embeddings with a common offset
        lose nothing, and their sums are in double; gradients are rounded once, after the upstream
        gradient was applied. Results are deterministic. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> anchor = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> positive = torch.tensor([[3.0, 4.0], [1.0, 1.0]])
        >>> negative = torch.tensor([[0.0, 2.0], [1.0, -3.0]])
        >>> fastloss.triplet_margin_loss(anchor, positive, negative, reduction="none")
        tensor([4., 0.])

    References:
        Weinberger & Saul 2009, "Distance Metric Learning for Large Margin Nearest Neighbor
        Classification". Schroff, Kalenichenko, Philbin 2015, "FaceNet", arXiv:1503.03832. Balntas
        et al. 2016, "Learning local feature descriptors with triplets". Hermans, Beyer, Leibe 2017,
        "In Defense of the Triplet Loss", arXiv:1703.07737.
    """
    op = "triplet_margin_loss"
    n, d = _rowwise.operands(op, anchor=anchor, positive=positive)
    _checks.floating(op, "negative", negative, like=anchor, of="anchor")
    if negative.dim() == 2:
        _checks.shape(op, "negative", negative, (n, d), " as anchor, or (n, h, d)")
        negative = negative.unsqueeze(1)
    _checks.shape(op, "negative", negative, (n, "h", d), " with n, d as anchor, or (n, d)")
    margin = _checks.not_negative(op, "margin", margin)
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    p = _checks.number(op, "p", p)
    if p < 1:
        raise ValueError(f"{op}: p must be at least 1, got {p}")
    if p != 2 and similarity != "euclidean":
        raise ValueError(f'{op}: p must be 2 with similarity="{similarity}", got {p}')
    eps = _checks.not_negative(op, "eps", eps)
    if eps != 0 and similarity not in DISTANCES:
        raise ValueError(f'{op}: eps must be 0 with similarity="{similarity}", got {eps}')
    swap = _checks.flag(op, "swap", swap)
    _checks.choice(op, "hinge", hinge, HINGES)
    if weights is not None:
        _checks.beside(op, "weights", weights, anchor, (n,), of="anchor")
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    options = (margin, similarity, p, eps, swap, hinge)
    return _rowwise.apply(op, 3, (anchor, positive, negative, weights), options, reduction)
