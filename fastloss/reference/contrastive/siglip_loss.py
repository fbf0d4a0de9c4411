"""The pairwise sigmoid loss of SigLIP by its definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reduction import reduce_rows
from ..similarity import pairwise_similarity


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
    group: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The executable definition of :func:`fastloss.siglip_loss`, which documents the arguments.

    Stores all n · m scores, for the Euclidean similarities also n · m · d differences. Gradients
    come from autograd and may be differentiated again.
    """
    if group is not None:
        raise NotImplementedError("siglip_loss: group is not implemented")
    n, m = len(image), len(text)
    if target is None:
        target = torch.arange(n, device=image.device)
    is_pair = torch.arange(m, device=image.device) == target[:, None]
    scores = pairwise_similarity(image, text, similarity) * logit_scale + logit_bias
    sign = 2.0 * is_pair - 1  # z: +1 for a pair, −1 for all others
    loss = -F.logsigmoid(sign.to(scores.dtype) * scores)  # softplus(−z s)
    if key_ids is not None:
        # A row without a target has no id to share.
        ids = key_ids[target.clamp(min=0)] if m > 0 else target
        alike = (key_ids == ids[:, None]) & (target >= 0)[:, None] & ~is_pair
        loss = loss.masked_fill(alike, 0.0)
    counts = torch.ones(n, dtype=torch.bool, device=image.device)
    return reduce_rows(loss.sum(1), counts, weights, reduction)
