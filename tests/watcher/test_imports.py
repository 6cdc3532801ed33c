"""Importing the watcher costs next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys

HEAVY = """
import sys
import pytest_hotplug.watcher
print(sorted({"watchfiles", "anyio", "asyncio"} & sys.modules.keys()))
"""


def test_importing_the_watcher_imports_nothing_heavy() -> None:
    """A pytest run or a command that watches nothing pays for no watcher."""
    ended = subprocess.run(
        [sys.executable, "-c", HEAVY],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.strip() == "[]"
