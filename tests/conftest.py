"""Settings shared by all tests."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

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
