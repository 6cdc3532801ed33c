"""Let coverage, breakpoints and tracebacks see the real plugin behind a sandbox's copy.

A sandbox file whose bytes equal the original's is compiled with the original's path. Coverage
decides by `__file__` whether to measure a file, at the first line that it sees of it; so one empty
line is run in the original's name before the copy's first. An edited copy keeps its own path and
isn't measured. What is wrong with an unchanged file is said of the original, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginLoadError
from pytest_hotplug.reloader.events import Event
from pytest_hotplug.testing.files import read_tree

__all__ = ["Originals"]

T = TypeVar("T")


class Originals:
    """Which copy belongs to which original, for one sandbox."""

    def __init__(self) -> None:
        self._places: dict[str, Path] = {}
        self._copies: dict[Path, Path] = {}  # copy -> original

    def add(self, found: Found, copy: Path) -> None:
        """Remember where the plugin that was copied to `copy` really lies."""
        self._places[found.name] = self._copies[copy] = found.path
        sys.audit("hotplug.copy", str(found.path), str(copy))

    def code_path(self, plugin: str, file: str, data: bytes) -> str | None:
        """Return the original's path if its bytes are `data`, after telling coverage of it."""
        place = self._places.get(plugin)
        if place is None:
            return None
        original = str(place / file)
        if _read(original) != data:
            return None
        if "coverage" in sys.modules:
            exec(compile("", original, "exec"), {"__file__": original, "__name__": "__hotplug__"})
        return original

    def of(self, path: Path) -> Path:
        """Return the original of an unchanged copy, of a file or a whole plugin; any other path as it is."""
        for copy, original in self._copies.items():
            if path.is_relative_to(copy):
                place = original / path.relative_to(copy)
                return place if _is_same(place, path) else path
        return path

    def blame(self, fault: Fault) -> Fault:
        """Return the same fault, pointing to the originals of unchanged copies."""
        path = fault.path and self.of(fault.path)
        return replace(fault, path=path, more=tuple(map(self.blame, fault.more)))

    def retell(self, event: Event) -> Event:
        """Return the same event, its fault and message pointing to the originals of unchanged copies."""
        if event.error is None:
            return event
        fault, message = self.blame(event.error), event.message
        for old, new in zip((event.error, *event.error.more), (fault, *fault.more), strict=True):
            message = message.replace(old.place, new.place) if old.place else message
        return replace(event, error=fault, message=message)

    def told_briefly(self, act: Callable[[], T]) -> T:
        """Run `act`; let a version that can't be loaded fail the test with its own message, without our frames."""
        __tracebackhide__ = True
        try:
            return act()
        except PluginLoadError as error:
            fault = self.blame(error.fault)
        raise PluginLoadError(fault)


def _is_same(one: Path, other: Path) -> bool:
    if one.is_dir() and other.is_dir():
        return read_tree(one) == read_tree(other)
    content = _read(str(one))
    return content is not None and content == _read(str(other))


def _read(path: str) -> bytes | None:
    """Read with os.open: a test may have patched builtins.open."""
    try:
        fd = _open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        parts = []
        while part := _read_fd(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        _close(fd)


_open, _read_fd, _close = os.open, os.read, os.close
