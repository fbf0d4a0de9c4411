"""The losses as modules: options in the constructor, tensors in ``forward``."""

from .contrastive import (
    CLIPLoss,
    InBatchBPRLoss,
    InBatchHingeLoss,
    InfoNCELoss,
    LinearCrossEntropyLoss,
    SigLIPLoss,
)
from .metric import (
    BatchAllTripletLoss,
    BatchHardTripletLoss,
    ContrastiveLoss,
    LabelledTripletLoss,
    PairwiseContrastiveLoss,
    SemiHardTripletLoss,
    TripletMarginLoss,
)
from .one_set import NTXentLoss, SupConLoss
from .pointwise import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, KLDivWithLogitsLoss
from .ranking import ListNetLoss, PairwiseHingeLoss, RankNetLoss
from .retrieval import BPRLoss, HingeLoss, PairwiseMarginLoss, SampledSoftmaxLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BPRLoss",
    "BatchAllTripletLoss",
    "BatchHardTripletLoss",
    "CLIPLoss",
    "ContrastiveLoss",
    "CrossEntropyLoss",
    "HingeLoss",
    "InBatchBPRLoss",
    "InBatchHingeLoss",
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
    "SemiHardTripletLoss",
    "SigLIPLoss",
    "SupConLoss",
    "TripletMarginLoss",
]
