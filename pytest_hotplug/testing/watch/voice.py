"""What the watch says: lines for people on the screen, events for programs in the log."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.testing.watch.log import EventLog
from pytest_hotplug.testing.watch.screen import Screen

__all__ = ["Voice"]


@dataclass(frozen=True, slots=True)
class Voice:
    """Both of them, and how paths of the project are written in either."""

    root: Path
    screen: Screen
    log: EventLog

    def fallback(self, reason: str) -> None:
        """Say why something is slower, or done another way than expected."""
        self.log.write("fallback", reason=reason)
        self.screen.say(f"hotplug: {reason}", "yellow")

    def shown(self, path: Path) -> str:
        """Return a path as people write it."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else os.fspath(path)
