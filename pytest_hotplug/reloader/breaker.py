"""Stop a plugin that keeps reloading itself.

A plugin that writes into its own counted files while it loads changes itself by being loaded: the
watcher sees it, reloads it, and so on for ever. After too many such reloads in a short time those
that the watcher starts are left out for a while, and that is said once. Explicit reloads and the
check before a call are never held back. Decides nothing else.

Own writing is told by signatures: what a load leaves differs from what it was loaded from, and the
next one finds it just so. Times would not do, since a file system has a clock of its own.
"""

from __future__ import annotations

import time
from collections import deque

from pytest_hotplug.reloader.errors import Fault
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.looking import look_at, unchanged
from pytest_hotplug.reloader.registry import Slot

__all__ = ["Breaker", "note_own_writing"]

MOST = 5
WITHIN = 10.0  # seconds
PAUSE = 30.0  # seconds without reloads that the watcher starts


class Breaker:
    """Counts, for one manager, the watcher's reloads whose change a plugin made itself."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._open_until: dict[str, float] = {}

    def is_open(self, plugin: str) -> bool:
        """Tell whether the watcher's reloads of a plugin are left out right now."""
        return time.monotonic() < self._open_until.get(plugin, 0.0)

    def trips(self, slot: Slot) -> Fault | None:
        """Count the last load, after a look that the watcher started; return what to say when it was one too many."""
        file, slot.self_made = slot.self_made, None
        if file is None:
            return None
        times = self._times.setdefault(slot.name, deque(maxlen=MOST + 1))
        if not file:
            times.clear()
            return None
        now = time.monotonic()
        times.append(now)
        if len(times) <= MOST or now - times[0] > WITHIN:
            return None
        self._open_until[slot.name] = now + PAUSE
        times.clear()
        message = f"it changes {file} each time it is loaded, and was reloaded {MOST + 1} times in {WITHIN:g} s for it"
        remedy = (
            f"Write elsewhere, or name the file in watch_ignore. The watcher leaves it alone for {PAUSE:g} s; "
            "calls still check."
        )
        return Fault(slot.name, "breaker", message, slot.found.path / file, remedy=remedy, own_bytes=False)


def note_own_writing(slot: Slot, loaded: Snapshot) -> None:
    """Remember which counted files a load has changed, and whether the load before had left one of these bytes so."""
    before = loaded.look.files
    slot.self_made = next((name for name, left in slot.written.items() if before.get(name) == left), "")
    try:
        now = before if unchanged(loaded.look) else look_at(slot.found.path, slot.ignore).files
    except OSError:
        now = before  # it can't be read: the next look says so
    slot.written = {name: signature for name, signature in now.items() if before.get(name) != signature}
