"""Log-sum-exp of all pairs by its definition."""

from __future__ import annotations

import math

from torch import Tensor

from ..similarity import pairwise_similarity


def pairwise_logsumexp(
    query: Tensor,
    key: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    similarity: str = "dot",
    key_bias: Tensor | None = None,
    dim: int = 1,
) -> Tensor:
    """The executable definition of :func:`fastloss.pairwise_logsumexp`, see there.

    Stores all n · m scores, for the Euclidean similarities also n · m · d differences. Gradients
    come from autograd and may be differentiated again.
    """
    scores = pairwise_similarity(query, key, similarity) / temperature
    if key_bias is not None:
        scores = scores + key_bias
    is_empty = (scores == -math.inf).all(dim)
    # An empty sum gets finite stand-ins, so that no NaN enters its (zero) gradient.
    lse = scores.masked_fill(is_empty.unsqueeze(dim), 0.0).logsumexp(dim)
    return lse.masked_fill(is_empty, -math.inf)
