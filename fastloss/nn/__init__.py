"""The losses as modules: options in the constructor, tensors in ``forward``."""

from .contrastive import CLIPLoss, InfoNCELoss, LinearCrossEntropyLoss
from .pointwise import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, KLDivWithLogitsLoss
from .retrieval import BPRLoss, HingeLoss, PairwiseMarginLoss, SampledSoftmaxLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BPRLoss",
    "CLIPLoss",
    "CrossEntropyLoss",
    "HingeLoss",
    "InfoNCELoss",
    "KLDivWithLogitsLoss",
    "LinearCrossEntropyLoss",
    "PairwiseMarginLoss",
    "SampledSoftmaxLoss",
]
