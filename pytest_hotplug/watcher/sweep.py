"""Remember the last look and tell what differs from it.

This is the whole polling backend, and the net under the native one. Compares signatures for
inequality only, so that a clock set back is a change like any other. Where nothing else speaks
(`reads`), it also reads what changed a moment ago: two edits in one tick of a coarse clock leave the
same signature. For the watcher only.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pytest_hotplug.watcher.content import digest_file
from pytest_hotplug.watcher.survey import Signature, Survey, survey

_log = logging.getLogger("hotplug.watcher")

# The coarsest clock of a file system in use ticks every two seconds.
_YOUNG = 2.0

LookOver = Callable[[Iterable[str]], Survey]


class _Young(NamedTuple):
    digest: bytes | None
    until: float  # monotonic


class Sweep:
    """Look again and again at the same roots; not safe to share between threads."""

    def __init__(
        self,
        roots: Sequence[str],
        *,
        reads: bool,
        look_over: LookOver = survey,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots = roots
        self._reads = reads
        self._look_over = look_over
        self._clock = clock
        self._known: dict[str, Signature] | None = None
        self._young: dict[str, _Young] = {}
        self._told_cut: str | None = None
        self.survey = Survey({}, {}, {}, {}, blind=False, cut_at=None)

    def look(self) -> set[str]:
        """Look over the roots and return the named paths that differ; the first look returns none."""
        self.survey = self._look_over(self._roots)
        now_seen = dict(self.survey.seen)
        before, self._known = self._known, now_seen
        self._tell_cut()
        if before is None:
            self._remember_young(path for path, sign in now_seen.items() if _is_recent(sign))
            return set()
        changed = {path for path, sign in now_seen.items() if before.get(path) != sign}
        changed |= before.keys() - now_seen.keys()
        changed |= self._reread_young(changed)
        self._remember_young(changed)
        return changed

    def note(self, paths: Iterable[str]) -> None:
        """Take these paths as told: the next look names only what changes from now on."""
        known = self._known if self._known is not None else {}
        for path in paths:
            try:
                known[path] = Signature.of(os.stat(path))
            except OSError:
                known.pop(path, None)

    def _remember_young(self, paths: Iterable[str]) -> None:
        if self._reads:
            until = self._clock() + _YOUNG
            seen = self.survey.seen
            self._young.update({path: _Young(digest_file(path), until) for path in paths if path in seen})

    def _reread_young(self, changed: set[str]) -> set[str]:
        """Compare the content of young files; each gets one last reading once it is old enough."""
        now, differing, still_young = self._clock(), set(), {}
        for path, (digest, until) in self._young.items():
            if path in changed or path not in self.survey.seen:
                continue
            again = digest_file(path)
            if again != digest:
                differing.add(path)
            elif now < until:
                still_young[path] = _Young(again, until)
        self._young = still_young
        return differing

    def _tell_cut(self) -> None:
        cut_at = self.survey.cut_at
        if cut_at and cut_at != self._told_cut:
            _log.warning("hotplug.watch_too_many_links", extra={"path": cut_at})
        self._told_cut = cut_at


def _is_recent(sign: Signature) -> bool:
    """Tell whether a file changed within the last ticks, or in what our clock takes for the future."""
    return not sign.is_directory and time.time() - sign.ctime_ns / 1e9 < _YOUNG


class SweepSource:
    """Find hints by looking every `interval` seconds."""

    missed = 0  # there are no events to tell of anything

    def __init__(self, roots: Sequence[str], interval: float, stopping: threading.Event) -> None:
        self._sweep = Sweep(roots, reads=True)
        self._interval = interval
        self._stopping = stopping

    def arm(self) -> set[str]:
        """Look once: what changes from now on is found."""
        return self._sweep.look()

    def wait(self, timeout: float | None) -> set[str]:
        """Sleep an interval, or `timeout` seconds where that is less, then look."""
        pause = self._interval if timeout is None else min(timeout, self._interval)
        return set() if self._stopping.wait(pause) else self._sweep.look()

    def wake(self) -> None:
        """Nothing to do: it waits for the stop event itself."""

    def close(self) -> None:
        """Hold nothing, so release nothing."""
