"""How long a child may take, and how much it may write where it is at home: what goes beyond is ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["MOST_WRITTEN", "Bounds"]

MOST_WRITTEN = 1 << 30  # bytes, in files and in what it prints; a plugin with more data brings it along
_LOOK = 0.5  # seconds between looks at what it wrote


class Bounds:
    """The bounds of one child; `beyond` says which one it crossed, once it has."""

    def __init__(self, timeout: float, directory: Path, printed: IO[bytes]) -> None:
        self.beyond = ""
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._directory = directory
        self._printed = printed
        self._most = MOST_WRITTEN + sum(_sizes(directory))  # the copies are ours
        self._next_look = 0.0

    def are_crossed(self) -> bool:
        """Tell whether it took too long, or wrote too much."""
        now = time.monotonic()
        if now >= self._deadline:
            self.beyond = f"it did not come to its end within {self._timeout:g} s"
        elif now >= self._next_look:
            self._next_look = now + _LOOK
            written = os.fstat(self._printed.fileno()).st_size + sum(_sizes(self._directory))
            if written > self._most:
                self.beyond = f"it wrote more than {MOST_WRITTEN >> 20} MiB"
        return bool(self.beyond)


def _sizes(directory: Path) -> Iterator[int]:
    """Yield the sizes of all files below a directory, as far as they are there to be asked."""
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                yield os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:  # it is at work there
                continue
