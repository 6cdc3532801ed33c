"""How the parts of the pytest side find each other: stash keys, a marker, names of environment variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_hotplug.testing.session import HotplugSession

__all__ = ["CHOSEN_BY_WATCHER", "MARKER", "SESSION", "ZYGOTE", "ZYGOTE_WORK"]

CHOSEN_BY_WATCHER = "HOTPLUG_WATCH_RUN"  # set in a process that is started for one run of a watch
ZYGOTE = "HOTPLUG_WATCH_ZYGOTE"  # set in the process that runs are forked from
MARKER = "hotplug_verify"  # on each item that verifies: what a plugin is checked for is no matter of what tests use
SESSION: pytest.StashKey[HotplugSession | None] = pytest.StashKey()
ZYGOTE_WORK: pytest.StashKey[Callable[[pytest.Config], object]] = (
    pytest.StashKey()
)  # what a forked process goes on with
