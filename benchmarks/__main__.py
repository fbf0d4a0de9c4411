"""Start the program, or say in one line what it lacks."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> int:
    missing = [name for name in ("matplotlib", "rich", "tqdm") if find_spec(name) is None]
    if missing:
        sys.exit(f"fastloss-bench: needs {', '.join(missing)}: pip install 'fastloss[bench]'")
    from .run import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
