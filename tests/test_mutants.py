"""The tests themselves: every planted bug of mutants/table.py must be caught."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.deep
def test_planted_bugs_are_caught():
    script = Path(__file__).parent / "mutants" / "run.py"
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
