"""Importing the watcher costs next to nothing."""

from __future__ import annotations

from tests.watcher.listening import run_script

HEAVY = """
import sys
import pytest_hotplug.watcher
print(sorted({"watchfiles", "anyio", "asyncio"} & sys.modules.keys()))
"""


def test_importing_the_watcher_imports_nothing_heavy() -> None:
    """A pytest run or a command that watches nothing pays for no watcher."""
    assert run_script(HEAVY).strip() == "[]"
