"""What reloads of a sandbox did, as its test asks: all of it, or the next event of a kind since the last edit."""

from __future__ import annotations

import threading
import time

from pytest_hotplug.reloader.errors import UsageError, did_you_mean
from pytest_hotplug.reloader.events import KINDS, Event
from pytest_hotplug.testing.originals import Originals

__all__ = ["Heard"]


class Heard:
    """The events of one sandbox, told of the originals where copies are unchanged."""

    def __init__(self, originals: Originals) -> None:
        self._originals = originals
        self._all: list[Event] = []
        self._mark = 0  # events before this index are older than the last edit
        self._awaited: dict[tuple[str, str | None], int] = {}
        self._arrived = threading.Condition()  # guards all of it

    def hear(self, event: Event) -> None:
        """Take an event over, and wake who waits for it."""
        told = self._originals.retell(event)
        with self._arrived:
            self._all.append(told)
            self._arrived.notify_all()

    def edited(self) -> None:
        """Remember that whatever is awaited from now on must be newer than this moment."""
        with self._arrived:
            self._mark = len(self._all)

    def lasting(self) -> list[Event]:
        """Return the events in order, without `retired`, which comes at its own time."""
        return [event for event in self._all if event.kind != "retired"]

    def wait_for(self, kind: str, name: str | None = None, timeout: float = 5.0) -> Event:
        """Return the next event of this kind (of this plugin) since the last edit; each is returned once.

        Raises TimeoutError, with what happened instead, and UsageError `[unknown-event]`.
        """
        if kind not in KINDS:
            raise UsageError(
                f"no event is called {kind!r}{did_you_mean(kind, KINDS)} ({', '.join(KINDS)})", "unknown-event"
            )
        deadline = time.monotonic() + timeout
        key = (kind, name)
        with self._arrived:
            while True:
                start = max(self._mark, self._awaited.get(key, 0))
                for index in range(start, len(self._all)):
                    event = self._all[index]
                    if event.kind == kind and name in (None, event.plugin):
                        self._awaited[key] = index + 1
                        return event
                if not self._arrived.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    since = [f"{e.kind} {e.plugin}" for e in self._all[self._mark :]]
                    wanted = f"{kind} {name or 'of any plugin'}"
                    raise TimeoutError(f"no event '{wanted}' within {timeout:g} s; since the last edit: {since}")
