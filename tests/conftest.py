"""Settings shared by all tests."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Read when torch is imported, hence here. Threads that spin while they wait make tests of small
# tensors ten times slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

sys.path.insert(0, str(Path(__file__).parent))  # `from cases import CASES` in any import mode

# The same examples every time: a test that fails must fail again.
settings.register_profile(
    "fastloss",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fastloss")


# What falls short of its budget (accuracy.py, judged by eager's own error on the same numbers), by
# 1.3 to 6 times. All have scores in the hundreds or thousands: 0.005 for temperature, or features
# of size 30. Visible in every report as "xfailed"; to be mended, not to be added to.
FALLS_SHORT = {
    "test_gradients.py::test_every_size[nt_xent-3x2x4-mean]",
    "test_gradients.py::test_every_size[nt_xent-67x45x33-scale30-mean]",
    "test_gradients.py::test_every_size[sup_con-3x2x4-mean]",
    "test_gradients.py::test_every_size[sup_con-127x45x33-scale30-mean]",
    "test_values.py::test_every_size[sup_con-3x2x4-mean]",
    "test_half.py::test_within_the_budget_of_float32[in_batch_bpr_loss-cosine, sharp-none]",
    "test_properties.py::test_workspace_limit_does_not_change_the_result"
    "[sup_con-cosine, sharp-none]",
}


def pytest_collection_modifyitems(config, items):
    """A loss without `reduction` is its rows: of tests of every reduction it meets "none" only."""

    def meets(item):
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        has_one = getattr(parameters.get("case"), "has_reduction", True)
        return has_one or parameters.get("reduction", "none") == "none"

    items[:] = [item for item in items if meets(item)]
    for item in items:
        if item.nodeid.removeprefix("tests/") in FALLS_SHORT:
            item.add_marker(pytest.mark.xfail(reason="falls short of its budget", strict=False))
