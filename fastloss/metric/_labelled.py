"""Argument checks of the losses whose triplets are named by labels."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .. import _checks, _pairwise

HINGES = ("relu", "softplus")
AVERAGES = ("active", "valid")


class Labelled(NamedTuple):
    """The kernels' first arguments."""

    embeddings: Tensor
    labels: Tensor
    ref_embeddings: Tensor | None
    ref_labels: Tensor | None


def checked(
    op: str,
    embeddings: Tensor,
    labels: Tensor,
    ref_embeddings: Tensor | None,
    ref_labels: Tensor | None,
    similarity: str,
) -> Labelled:
    embeddings, ref_embeddings = _pairwise.autocast(embeddings, ref_embeddings)
    _checks.floating(op, "embeddings", embeddings)
    _checks.shape(op, "embeddings", embeddings, ("n", "d"))
    d = embeddings.shape[1]
    if d == 0:
        raise ValueError(
            f"{op}: embeddings must have at least one feature, got {tuple(embeddings.shape)}"
        )
    _checks.vector(op, "labels", labels, embeddings, embeddings, integer=True, of="embeddings")
    if ref_embeddings is None and ref_labels is not None:
        raise ValueError(f"{op}: ref_embeddings must be given with ref_labels")
    if ref_embeddings is not None:
        _checks.floating(op, "ref_embeddings", ref_embeddings, like=embeddings, of="embeddings")
        _checks.shape(op, "ref_embeddings", ref_embeddings, ("m", d))
        if ref_labels is None:
            raise ValueError(f"{op}: ref_labels must be given with ref_embeddings")
        _checks.vector(
            op, "ref_labels", ref_labels, embeddings, ref_embeddings, integer=True, of="embeddings"
        )
    _checks.choice(op, "similarity", similarity, _checks.SIMILARITIES)
    return Labelled(embeddings, labels, ref_embeddings, ref_labels)
