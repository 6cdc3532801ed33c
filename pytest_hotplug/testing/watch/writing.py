"""Tell the watcher of each file of the project at the moment that a run is about to write it.

An audit hook can't be removed: it is there once per process, and forked processes inherit it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_hotplug.testing.watch.messages import Tells

__all__ = ["TellsWhatIsWritten"]

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_CREAT


class TellsWhatIsWritten:
    """Hears what this process opens to write, renames, or hands to sqlite, below the given directories."""

    def __init__(self, places: Iterable[Path], tells: Tells) -> None:
        self._places = tuple({f"{name}{os.sep}" for place in places for name in (str(place), os.path.realpath(place))})
        self.speak_to(tells)
        sys.addaudithook(self._hear)

    def speak_to(self, tells: Tells) -> None:
        """Tell there from now on, also what was told elsewhere before."""
        self._tells = tells
        self._told: set[str] = set()

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        name = _written_by(event, arguments)
        if name is None:
            return
        path = os.path.abspath(name)
        if path.startswith(self._places) and path not in self._told:
            self._told.add(path)
            self._tells.send("writes", path=path)


def _written_by(event: str, arguments: tuple[Any, ...]) -> str | None:
    if event == "open":
        name, _, flags = arguments
        if not flags & _WRITES:
            return None
    elif event == "os.rename":
        name = arguments[1]
    elif event == "sqlite3.connect":
        (name,) = arguments
    else:
        return None
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else None
