"""The losses as modules: options in the constructor, tensors in ``forward``."""

from .contrastive import CLIPLoss, InfoNCELoss, LinearCrossEntropyLoss
from .ranking import ListNetLoss, PairwiseHingeLoss, RankNetLoss

__all__ = [
    "CLIPLoss",
    "InfoNCELoss",
    "LinearCrossEntropyLoss",
    "ListNetLoss",
    "PairwiseHingeLoss",
    "RankNetLoss",
]
