"""The losses as modules: options in the constructor, tensors in ``forward``."""

from .contrastive import CLIPLoss, InfoNCELoss, LinearCrossEntropyLoss

__all__ = ["CLIPLoss", "InfoNCELoss", "LinearCrossEntropyLoss"]
