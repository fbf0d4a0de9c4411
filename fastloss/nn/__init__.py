"""The losses as modules: options in the constructor, tensors in ``forward``."""

from .contrastive import CLIPLoss, InfoNCELoss, LinearCrossEntropyLoss, NTXentLoss, SupConLoss
from .metric import (
    BatchHardTripletLoss,
    ContrastiveLoss,
    LabelledTripletLoss,
    PairwiseContrastiveLoss,
    TripletMarginLoss,
)
from .pointwise import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, KLDivWithLogitsLoss
from .ranking import ListNetLoss, PairwiseHingeLoss, RankNetLoss
from .retrieval import BPRLoss, HingeLoss, PairwiseMarginLoss, SampledSoftmaxLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BPRLoss",
    "BatchHardTripletLoss",
    "CLIPLoss",
    "ContrastiveLoss",
    "CrossEntropyLoss",
    "HingeLoss",
    "InfoNCELoss",
    "KLDivWithLogitsLoss",
    "LabelledTripletLoss",
    "LinearCrossEntropyLoss",
    "ListNetLoss",
    "NTXentLoss",
    "PairwiseContrastiveLoss",
    "PairwiseHingeLoss",
    "PairwiseMarginLoss",
    "RankNetLoss",
    "SampledSoftmaxLoss",
    "SupConLoss",
    "TripletMarginLoss",
]
