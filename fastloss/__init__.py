"""fastloss: losses that never build the matrix.

Contrastive losses for PyTorch whose n × m score matrix is never stored, and ranking losses whose
pairs are never listed, with hand-written gradients, exact to rounding. See
:func:`fastloss.info_nce`, :func:`fastloss.clip_loss`, :func:`fastloss.linear_cross_entropy`,
:func:`fastloss.ranknet_loss`; the same losses as modules are in :mod:`fastloss.nn`, their
executable definitions in :mod:`fastloss.reference`.
"""

from __future__ import annotations

from typing import Any

import torch as _torch

try:
    from . import _C
except ImportError as _error:
    raise ImportError(
        "fastloss cannot load its extension fastloss._C. The usual causes: Python was started in "
        "the source tree, whose fastloss/ hides the installed one (change the directory, or "
        "`pip install -e .`); the extension was not built (`pip install .`); torch was exchanged "
        f"since (rebuild: `pip install --force-reinstall --no-deps .`). Cause: {_error}"
    ) from _error

from . import nn, reference
from ._cuda import cuda_engine
from ._workspace import workspace_limit
from .contrastive import (
    clip_loss,
    in_batch_bpr_loss,
    in_batch_hinge_loss,
    info_nce,
    linear_cross_entropy,
    nt_xent,
    pairwise_logsumexp,
    siglip_loss,
    sup_con,
)
from .metric import (
    batch_all_triplet_loss,
    batch_hard_triplet_loss,
    contrastive_loss,
    labelled_triplet_loss,
    pairwise_contrastive_loss,
    semi_hard_triplet_loss,
    triplet_margin_loss,
    triplet_statistics,
)
from .pointwise import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div_with_logits,
)
from .ranking import (
    bpr_loss,
    hinge_loss,
    listnet_loss,
    pairwise_hinge_loss,
    pairwise_margin_loss,
    ranknet_loss,
    sampled_softmax_loss,
)

__all__ = [
    "batch_all_triplet_loss",
    "batch_hard_triplet_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "bpr_loss",
    "build_info",
    "clip_loss",
    "contrastive_loss",
    "cross_entropy",
    "cuda_engine",
    "hinge_loss",
    "in_batch_bpr_loss",
    "in_batch_hinge_loss",
    "info_nce",
    "kl_div_with_logits",
    "labelled_triplet_loss",
    "linear_cross_entropy",
    "listnet_loss",
    "nn",
    "nt_xent",
    "pairwise_contrastive_loss",
    "pairwise_hinge_loss",
    "pairwise_logsumexp",
    "pairwise_margin_loss",
    "ranknet_loss",
    "reference",
    "sampled_softmax_loss",
    "semi_hard_triplet_loss",
    "siglip_loss",
    "sup_con",
    "triplet_margin_loss",
    "triplet_statistics",
    "workspace_limit",
]

__version__: str = _C.build_facts()["version"]

_torch_built: str = _C.build_facts()["torch_built"]
if _torch.__version__.split(".")[:2] != _torch_built.split(".")[:2]:
    raise ImportError(
        f"fastloss was built against torch {_torch_built}, but torch {_torch.__version__} is "
        "installed: rebuild with `pip install --force-reinstall --no-deps .`"
    )


def build_info() -> dict[str, Any]:
    """Tell what this build is and what it uses here.

    Returns:
        version, torch (installed), torch_built, compiler, simd (the instruction set in use,
        "baseline", "v3" (AVX2) or "v4" (AVX-512)), simd_available, matrix_product ("brgemm" or
        "mm"), bfloat16_products (whether the processor multiplies bfloat16), threads and cuda
        (whether it has CUDA kernels); if so also cuda_toolkit (the version of nvcc) and
        cuda_architectures (the compute capabilities compiled for, as "8.0,9.0+PTX").

    Example:
        >>> import fastloss
        >>> fastloss.build_info()["version"] == fastloss.__version__
        True
    """
    facts = _C.build_facts()
    return {**facts, "torch": _torch.__version__, "threads": _torch.get_num_threads()}
