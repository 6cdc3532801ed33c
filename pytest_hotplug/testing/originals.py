"""Let coverage, breakpoints and tracebacks see the real plugin behind a sandbox's copy.

A sandbox file whose bytes equal the original's is compiled with the original's path. Coverage
decides by `__file__` whether to measure a file, at the first line that it sees of it; so one empty
line is run in the original's name before the copy's first. An edited copy keeps its own path and
isn't measured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pytest_hotplug.reloader.discovery import Found

__all__ = ["Originals"]


class Originals:
    """Which copy belongs to which original, for one sandbox."""

    def __init__(self) -> None:
        self._places: dict[str, Path] = {}

    def add(self, found: Found, copy: Path) -> None:
        """Remember where the plugin that was copied to `copy` really lies."""
        self._places[found.name] = found.path

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
