"""Collect hints until they come to rest, then hand them out as one batch.

One save goes out after a short quiet, a storm of saves once it is over or has lasted too long. Knows
paths and two clocks, which are given to it; starts nothing, waits for nothing. For the watcher only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_hotplug.watcher.batch import Batch


class Debounce:
    """Gather hints; belongs to one thread.

    A batch is due `quiet` seconds after its last hint, and at the latest `longest` seconds after its
    first one.
    """

    def __init__(
        self,
        quiet: float,
        longest: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._quiet = quiet
        self._longest = longest
        self._clock = clock
        self._wall = wall
        self._clear()

    def _clear(self) -> None:
        self._paths: set[str] = set()
        self._overflow = False
        self._first = self._last = self._first_seen = 0.0

    def add(self, paths: Iterable[str], *, overflow: bool = False) -> None:
        """Take hints in; none at all changes nothing."""
        fresh = set(paths)
        if not fresh and not overflow:
            return
        now = self._clock()
        if not self._pending:
            self._first, self._first_seen = now, self._wall()
        self._last = now
        self._paths |= fresh
        self._overflow |= overflow

    def remaining(self) -> float | None:
        """Tell the seconds until a batch is due, 0 when it is, None while there are no hints."""
        if not self._pending:
            return None
        due = min(self._last + self._quiet, self._first + self._longest)
        return max(0.0, due - self._clock())

    def take(self) -> Batch | None:
        """Hand out the batch if it is due, and begin a new one."""
        if self.remaining() != 0.0:
            return None
        batch = Batch(frozenset(map(Path, self._paths)), self._first_seen, self._overflow)
        self._clear()
        return batch

    @property
    def _pending(self) -> bool:
        return bool(self._paths) or self._overflow
