"""Turn native events into hints, and look where events are known to be silent.

Listens to every directory of the roots by itself, and to the directories that hold the roots and the
links on the way, so that a root, a link or a directory that comes, goes or is exchanged is noticed.
Three things are never told by events alone, and found by comparing with the last look:

- what was written into a new directory before it was listened to;
- what happened between two native watchers;
- what the native watcher drops: between two of its waits (it empties its list after it has looked
  at it) and when the kernel's queue runs over (it does not say so).

Decides nothing about errors: they go to whoever supervises. For `watching` only.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from pytest_hotplug.watcher.mounts import first_without_events
from pytest_hotplug.watcher.names import is_noise
from pytest_hotplug.watcher.native import EventsUnavailable, Notifier, OpenNotifier
from pytest_hotplug.watcher.schedule import LookSchedule
from pytest_hotplug.watcher.survey import Identity
from pytest_hotplug.watcher.sweep import Sweep

# Directories that come and go faster than they can be listened to; after that it is tried later.
_ARM_ATTEMPTS = 10


class EventSource:
    """Find hints by native events; belongs to one thread after it was armed."""

    def __init__(
        self,
        roots: Sequence[str],
        open_notifier: OpenNotifier,
        step: float,
        stopping: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sweep = Sweep(roots, reads=False)
        self._open_notifier = open_notifier
        self._step_ms = max(1, round(step * 1000))
        self._stopping = stopping
        self._notifier: Notifier | None = None
        self._armed: Mapping[str, Identity] = {}
        self._schedule = LookSchedule(clock)
        self.missed = 0  # paths that a look found changed although no event told of them

    def arm(self) -> set[str]:
        """Look, listen to what is there now, and return what changed since the last look.

        Raises EventsUnavailable, or what the native watcher raises.
        """
        began = self._schedule.now()
        changed = self._sweep.look()
        if not self._listens_to_all():
            changed |= self._listen_to_all()
        self._schedule.looked(began)
        if not self._listens_to_all():
            self._schedule.heard(directories_changed=True)
        return changed

    def wait(self, timeout: float | None) -> set[str]:
        """Wait for hints at most `timeout` seconds (None: until there are some, or the stop event).

        Raises what the native watcher raises; a source that was closed arms itself again.
        """
        if self._notifier is None:
            return self.arm()
        told = self._notifier.watch(self._step_ms, self._step_ms, self._milliseconds_to_wait(timeout), self._stopping)
        hints = set() if isinstance(told, str) else self._heed([path for _, path in told])
        if self._look_in() == 0.0:
            expected = self._schedule.directories_changed  # then the look is how their content is found
            found = self.arm()
            self.missed += 0 if expected else len(found)
            return hints | found
        # Even a wait that ran out of time may have dropped an event in its last moment.
        self._schedule.heard()
        return hints

    def wake(self) -> None:
        """Let a wait that goes on see that the stop event is set; from any thread."""
        if (notifier := self._notifier) is not None:
            notifier.wake()

    def close(self) -> None:
        """End the native watcher, if there is one."""
        notifier, self._notifier, self._armed = self._notifier, None, {}
        if notifier is not None:
            notifier.close()

    def _listen_to_all(self) -> set[str]:
        changed: set[str] = set()
        for _ in range(_ARM_ATTEMPTS):
            self._listen(self._sweep.survey.watched)
            changed |= self._sweep.look()
            if self._listens_to_all():
                break
        if self._notifier is None:
            raise OSError("the watched directories vanish faster than they can be listened to")
        return changed

    def _listen(self, directories: Mapping[str, Identity]) -> None:
        self.close()
        if mount := first_without_events(directories):
            raise EventsUnavailable(f"{mount.point} is {mount.kind}: events do not work there")
        try:
            self._notifier = self._open_notifier(sorted(directories))
        except (FileNotFoundError, PermissionError):
            return  # gone or closed to us since it was listed: the next look knows
        self._armed = directories

    def _listens_to_all(self) -> bool:
        return self._notifier is not None and self._armed == self._sweep.survey.watched

    def _heed(self, real_paths: Sequence[str]) -> set[str]:
        hints = {named for path in real_paths for named in self._names_of(path)}
        hints |= self._below([path for path in real_paths if self._is_known_directory(path)])
        self._sweep.note(hints)
        self._schedule.heard(directories_changed=any(map(self._is_structural, real_paths)))
        return hints

    def _names_of(self, path: str) -> Iterator[str]:
        """Translate a real path; what lies outside the roots and redirects nothing has no name."""
        survey = self._sweep.survey
        yield from survey.hinges.get(path, ())
        yield from survey.directories.get(path, ())
        directory, name = os.path.split(path)
        if not is_noise(name):
            for named in survey.directories.get(directory, ()):
                yield os.path.join(named, name)

    def _below(self, real_paths: Sequence[str]) -> set[str]:
        """Return everything known below directories that came or went themselves.

        One that goes and comes back between two looks looks the same to both of them.
        """
        tops = tuple(f"{named}{os.sep}" for path in real_paths for named in self._names_of(path))
        return {seen for seen in self._sweep.survey.seen if seen.startswith(tops)} if tops else set()

    def _is_known_directory(self, path: str) -> bool:
        return path in self._sweep.survey.hinges or path in self._sweep.survey.directories

    def _is_structural(self, path: str) -> bool:
        """Tell whether the set of directories to listen to may differ after an event on this path.

        The kind of the event is not asked: a name may turn from a file into a directory.
        """
        survey = self._sweep.survey
        if self._is_known_directory(path):
            return True
        directory, name = os.path.split(path)
        if directory not in survey.directories or is_noise(name):
            return False
        was = survey.seen.get(os.path.join(survey.directories[directory][0], name))
        return (was is not None and was.is_directory) or _is_directory_or_link(path)

    def _look_in(self) -> float | None:
        return self._schedule.remaining(blind=self._sweep.survey.blind)

    def _milliseconds_to_wait(self, timeout: float | None) -> int:
        waits = [seconds for seconds in (timeout, self._look_in()) if seconds is not None]
        # The native watcher takes 0 for "without end".
        return max(1, round(min(waits) * 1000)) if waits else 0


def _is_directory_or_link(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
