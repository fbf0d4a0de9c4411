"""in_batch_bpr_loss: what differs from in_batch.py."""

from __future__ import annotations

import math

import fastloss.reference
import in_batch
from case import Case

CASE = Case(
    **in_batch.shared(
        "in_batch_bpr_loss",
        "InBatchBPRLoss",
        fastloss.reference.in_batch_bpr_loss,
        in_batch.variants(),
        in_batch.edges(of_equal_scores=math.log(2)),
        in_batch.errors(),
    ),
    invariances=(*in_batch.INVARIANCES, *in_batch.SCALED),
)
