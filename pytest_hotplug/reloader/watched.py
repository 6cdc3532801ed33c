"""Reloads that a running watch asks for: which plugins a batch touches, and what is told of each look.

The watch itself is injected, and its word is only "look again": see `watching`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_hotplug.reloader.asking import WATCHER, asking
from pytest_hotplug.reloader.breaker import Breaker
from pytest_hotplug.reloader.outcomes import Outcome
from pytest_hotplug.reloader.pauses import lift
from pytest_hotplug.reloader.registry import Registry
from pytest_hotplug.reloader.reload import HotLoader
from pytest_hotplug.reloader.watching import Batch, Watch, Watching, plugins_touched

__all__ = ["Watched"]

Tell = Callable[[Outcome], None]


class Watched:
    """The watch of one manager, if it has one, and the reloads that it starts."""

    def __init__(self, registry: Registry, hot: HotLoader, discover: Callable[[], object]) -> None:
        self.running: Watching | None = None
        self.breaker = Breaker()
        self._registry = registry
        self._hot = hot
        self._discover = discover
        self._lock = threading.Lock()  # guards running

    def after_fork(self) -> None:
        """Forget, in a child process, the watch whose thread is the parent's."""
        self.running = None
        self._lock = threading.Lock()

    def start(self, watch: Watch, places: Sequence[Path], tell: Tell | None) -> None:
        """Reload what changes below `places` from now on; without effect when a watch runs already."""
        with self._lock:
            if self.running is None or not self.running.alive:
                self._discover()
                self.running = watch(places, lambda batch: self._look_again(batch, tell), self._hot.settings)

    def stop(self) -> None:
        """End the watch, if one runs."""
        with self._lock:
            watching, self.running = self.running, None
        if watching is not None:
            watching.stop()

    def _look_again(self, batch: Batch, tell: Tell | None) -> None:
        with asking(WATCHER):
            self._reload_touched(batch, tell)

    def _reload_touched(self, batch: Batch, tell: Tell | None) -> None:
        self._discover()
        lift(self._registry)
        # One that failed was wanted: it is tried again. One that nobody asked for yet is not loaded.
        slots = dict(self._registry.slots)
        wanted = {n: s.found.path for n, s in slots.items() if n in self._registry.serving or s.refusal is not None}
        for name in plugins_touched(batch, wanted):
            slot = slots[name]
            if self._registry.hot_reload and slot.paused is None and not self.breaker.is_open(name):
                outcome = self._hot.reload(name)
                if fault := self.breaker.trips(slot):
                    self._hot.tell(slot, fault)
                if tell is not None:
                    tell(outcome)
