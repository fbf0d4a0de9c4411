"""Settings shared by all tests."""

import os
import sys
from pathlib import Path

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


def pytest_collection_modifyitems(config, items):
    """A loss without `reduction` is its rows: of tests of every reduction it meets "none" only."""

    def meets(item):
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        has_one = getattr(parameters.get("case"), "has_reduction", True)
        return has_one or parameters.get("reduction", "none") == "none"

    items[:] = [item for item in items if meets(item)]
