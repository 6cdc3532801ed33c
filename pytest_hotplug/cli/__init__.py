"""The `hotplug` command: parse, call, print. No logic of its own, and never pytest.

Imported by the console script and by `python -m pytest_hotplug`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 refused, 2 interrupted, 3 internal, 4 usage, 5 nothing."""
    try:
        from pytest_hotplug.cli.run import run

        return run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # while we were still importing
        if sys.stderr is not None:
            print("hotplug: interrupted", file=sys.stderr)
        return 2
