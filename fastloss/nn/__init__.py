"""The losses as modules: options in the constructor, tensors in ``forward``."""

from .contrastive import CLIPLoss, InfoNCELoss, LinearCrossEntropyLoss
from .metric import BatchAllTripletLoss, SemiHardTripletLoss
from .pointwise import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, KLDivWithLogitsLoss
from .ranking import ListNetLoss, PairwiseHingeLoss, RankNetLoss
from .retrieval import BPRLoss, HingeLoss, PairwiseMarginLoss, SampledSoftmaxLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BPRLoss",
    "BatchAllTripletLoss",
    "CLIPLoss",
    "CrossEntropyLoss",
    "HingeLoss",
    "InfoNCELoss",
    "KLDivWithLogitsLoss",
    "LinearCrossEntropyLoss",
    "ListNetLoss",
    "PairwiseHingeLoss",
    "PairwiseMarginLoss",
    "RankNetLoss",
    "SampledSoftmaxLoss",
    "SemiHardTripletLoss",
]
