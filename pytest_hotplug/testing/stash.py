"""How the parts of the pytest side find each other: a stash key, and the name of an environment variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_hotplug.testing.session import HotplugSession

__all__ = ["CHOSEN_BY_WATCHER", "SESSION"]

CHOSEN_BY_WATCHER = "HOTPLUG_WATCH_RUN"  # set in the process that runs the tests of a watch
SESSION: pytest.StashKey[HotplugSession | None] = pytest.StashKey()
