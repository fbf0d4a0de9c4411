"""SupCon, the supervised contrastive loss: rows of one label are each other's positives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import _checks, _pairwise

_OPERATOR = _pairwise.Operator("sup_con", differentiable=(0, 2, 5))


def sup_con(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ref_embeddings: Tensor | None = None,
    ref_labels: Tensor | None = None,
    temperature: float | Tensor = 0.07,
    similarity: str = "cosine",
    weights: Tensor | None = None,
    group: Any = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Supervised contrastive loss of n labelled rows.

    With the candidates :math:`A(i)` of row i, all rows but the row itself, and
    :math:`P(i) \subseteq A(i)` those of its label,

    .. math::
        L_i = \log \sum_{a \in A(i)} e^{s_{ia}} - \frac{1}{|P(i)|} \sum_{p \in P(i)} s_{ip},
        \qquad s_{ia} = \mathrm{sim}(z_i, z_a) / \tau

    (Khosla et al. 2020, :math:`L_{out}`). With references they are the candidates instead, every
    one of them, and the rows are compared with each other no more. A score of two rows serves both,
    so that only half of the n × n matrix is computed. It is never stored: temporaries stay within
    :func:`fastloss.workspace_limit`, beside gradient accumulators of the size of the inputs and
    O(n) numbers.

    Args:
        embeddings: (n, d), float32, float64, bfloat16 or float16.
        labels: (n,) int64, any values.
        ref_embeddings: (k, d), dtype and device of embeddings: candidates of all rows, instead of
            the rows.
        ref_labels: (k,) int64, given with ref_embeddings.
        temperature: τ > 0, divides the similarity. A float or a 0-dim tensor, which may require
            grad.
        similarity: "cosine" (a zero row has similarity 0 and gradient 0), "dot", "euclidean" or
            "sqeuclidean" (both negative distances).
        weights: (n,), not negative, one weight a row; without gradient.
        group: reserved for distributed batches; must be None.
        reduction: "mean" (Σ wᵢLᵢ / Σ wᵢ over the rows with a positive), "sum" or "none" (wᵢLᵢ).

    Returns:
        A 0-dim tensor, or (n,) for "none", 0 for a row without a positive; float32 for 16-bit
        operands, else their dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device or value, one of ref_embeddings and ref_labels without the
            other, negative weights, weights that require grad. The message names the argument.
        RuntimeError: CUDA tensors in a build without CUDA kernels.
        NotImplementedError: group is not None.

    Notes:
        Where no row has a positive, or the weights sum to 0, the loss is 0 with zero gradients. A
        NaN in any row gives NaN in the rows that have a positive. With G the product of all rows
        with each other, half a G is done without gradients; with gradients 2 G, or down to 1½ as
        the scores fit the workspace; "none" takes 2. Against references a score is one product,
        each gradient another, and "none" takes the scores twice. Scores, sums and gradients are
        float32 for 16-bit operands, which are multiplied unrounded; gradients are rounded once,
        after the upstream gradient was applied. Sums are deterministic: the same bits at the same
        thread count, workspace limit and processor. Second derivatives are not defined.

    Example:
        >>> import torch, fastloss
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> labels = torch.tensor([3, 3, 7])
        >>> round(fastloss.sup_con(embeddings, labels, temperature=1.0).item(), 4)
        0.547

    References:
        Khosla et al. 2020, "Supervised Contrastive Learning", arXiv:2004.11362.
    """
    op = "sup_con"
    _checks.no_group(op, group)
    embeddings, ref_embeddings = _pairwise.autocast(embeddings, ref_embeddings)
    _checks.floating(op, "embeddings", embeddings)
    _checks.shape(op, "embeddings", embeddings, ("n", "d"))
    d = embeddings.shape[1]
    if d == 0:
        raise ValueError(
            f"{op}: embeddings must have at least one feature, got {tuple(embeddings.shape)}"
        )
    _checks.vector(op, "labels", labels, embeddings, embeddings, integer=True, of="embeddings")
    if (ref_embeddings is None) != (ref_labels is None):
        given, missing = ("ref_labels", "ref_embeddings")[:: -1 if ref_labels is None else 1]
        raise ValueError(f"{op}: {missing} must be given with {given}, got None")
    if ref_embeddings is not None:
        _checks.floating(op, "ref_embeddings", ref_embeddings, like=embeddings, of="embeddings")
        _checks.shape(op, "ref_embeddings", ref_embeddings, ("k", d), " with d as embeddings")
        _checks.vector(
            op, "ref_labels", ref_labels, embeddings, ref_embeddings, integer=True, of="embeddings"
        )
    if weights is not None:
        _checks.vector(
            op, "weights", weights, embeddings, embeddings, integer=False, of="embeddings"
        )
        _checks.no_grad(op, "weights", weights)
    temperature_tensor, temperature = _checks.positive_scalar(
        op, "temperature", temperature, embeddings, "embeddings"
    )
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    _checks.choice(op, "reduction", reduction, _checks.REDUCTIONS)
    tensors = (embeddings, labels, ref_embeddings, ref_labels, weights, temperature_tensor)
    return _pairwise.apply(_OPERATOR, tensors, (temperature, similarity), reduction)
