"""Reloads that a running watch asks for: which plugins a batch touches, and what is told of each look.

The watch itself is injected, and its word is only "look again": see `watching`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
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

    def catch_up(self, tell: Tell | None) -> None:
        """Reload what was edited while nobody watched, and tell of nothing else."""
        with asking(WATCHER):
            changed, slots = self._hot.checker.changed, self._registry.slots
            known = [slots.get(name) for name in self._wanted()]  # one may go from disk meanwhile
            self._reload([slot.name for slot in known if slot is not None and changed(slot)], tell)

    def _look_again(self, batch: Batch, tell: Tell | None) -> None:
        with asking(WATCHER):
            self._reload(plugins_touched(batch, self._wanted()), tell)

    def _wanted(self) -> dict[str, Path]:
        """Return where those lie that serve or failed; one that nobody asked for yet is not loaded."""
        self._discover()
        lift(self._registry)
        slots = dict(self._registry.slots)
        return {n: s.found.path for n, s in slots.items() if n in self._registry.serving or s.refusal is not None}

    def _reload(self, names: Iterable[str], tell: Tell | None) -> None:
        for name in names:
            slot = self._registry.slots.get(name)
            if slot is None or not self._registry.hot_reload or slot.paused is not None or self.breaker.is_open(name):
                continue
            outcome = self._hot.reload(name)
            if fault := self.breaker.trips(slot):
                self._hot.tell(slot, fault)
            if tell is not None:
                tell(outcome)
