"""What tests on a CUDA device and on an emulated one share."""

from __future__ import annotations

import torch

from accuracy import Judge
from cases import CASES
from fastloss import _cuda

ON_CUDA = [case for case in CASES if case.name in _cuda.LOSSES]
VARIANTS = [(case, variant) for case in ON_CUDA for variant in case.variants]
EDGES = [(case, edge) for case in ON_CUDA for edge in case.edges]


class DeviceJudge(Judge):
    """On the device the derivatives of 16-bit operands are rounded to 16 bits themselves, for its
    matrix units, before they are multiplied and added up. Terms that cancel in one row of a
    gradient do not in another: beside the rounding when it is stored, each entry may be off by a
    unit in the last place of the largest of all. 32 and 64 bits: as on the CPU."""

    def storage_unit(self, exact, dtype):
        units = super().storage_unit(exact, dtype)
        return units + units.amax() if isinstance(units, torch.Tensor) else units


def gradients_are_judged(case, edge):
    """The library may round the products of equal rows apart: which one is chosen is then open."""
    chooses = case.name == "batch_hard_triplet_loss" and "all rows equal" in edge.name
    return edge.gradients and not chooses
