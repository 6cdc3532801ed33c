"""The end of a generation: on_unload, undo, joins, once nobody uses it any more.

Runs on a thread of its own when there is work to do, so that no reload and no call waits for a
plugin that is slow to stop. Nothing is ever killed.
"""

from __future__ import annotations

import logging
import threading
import time
import typing
import weakref
from collections.abc import Callable, Iterable

from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.leases import Leases
from pytest_hotplug.reloader.loader import Loader

__all__ = ["Retirement", "tell_problems"]

LOG = logging.getLogger("hotplug")
GRACE = 1.0  # seconds that a reload gives an idle old generation to end before it returns


class Retirement:
    """Retires the superseded generations of one manager."""

    def __init__(
        self,
        loader: Loader,
        leases: Leases,
        events: Events,
        timeout: float,
        successor_of: Callable[[Generation], Generation | None],
    ) -> None:
        self._loader = loader
        self._leases = leases
        self._events = events
        self._timeout = timeout
        self._successor_of = successor_of
        self._lock = threading.Lock()  # guards _threads and _ended
        self._threads: list[threading.Thread] = []
        self._ended: weakref.WeakSet[Generation] = weakref.WeakSet()  # their on_unload has begun, and begins once

    def after_fork(self) -> None:
        """Forget, in a child process, the threads of the parent."""
        self._lock = threading.Lock()
        self._threads = []

    def supersede(self, old: Iterable[Generation], *, wait: bool) -> None:
        """Retire generations that no longer serve, each at its last lease's end.

        With `wait`, idle ones get a moment to end before this returns.
        """
        deadline = time.monotonic() + GRACE
        for generation in old:
            self._leases.when_idle(generation, lambda g=generation: self._begin(g))  # type: ignore[misc]
        if wait:
            self.join(max(0.0, deadline - time.monotonic()))

    def take_down(self, generation: Generation) -> None:
        """Run a generation's on_unload and undo while it still counts as serving; nothing of it runs twice."""
        if self._begins_to_end(generation):
            self._unload(generation)

    def limit_of(self, generation: Generation) -> float:
        """Return the seconds after which it is said that a generation does not end."""
        limit = generation.manifest.retire_timeout
        return self._timeout if limit is None else limit

    def patience_with(self, generation: Generation) -> float:
        """Return the seconds after which nobody waits any longer: threads are joined within the limit itself."""
        return self.limit_of(generation) + GRACE

    def _begins_to_end(self, generation: Generation) -> bool:
        """Tell whether the caller is the first to end a generation."""
        with self._lock:
            first = generation not in self._ended
            self._ended.add(generation)
        return first

    def join(self, timeout: float) -> None:
        """Wait for retirements that are under way."""
        deadline = time.monotonic() + timeout
        with self._lock:
            threads = [t for t in self._threads if t is not threading.current_thread()]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self, generation: Generation) -> None:
        if not self._begins_to_end(generation) or not self._loader.has_work(generation):
            self._finish(generation)
            return
        name = f"hotplug-retire-{generation.name}-{generation.number}"
        thread = threading.Thread(target=self._end, args=(generation,), name=name, daemon=True)
        with self._lock:
            self._threads = [t for t in self._threads if t.is_alive()]
            thread.start()
            self._threads.append(thread)

    def _end(self, generation: Generation) -> None:
        late = threading.Timer(self.patience_with(generation), self._say_late, (generation,))
        late.name, late.daemon = f"hotplug-late-{generation.name}-{generation.number}", True
        try:
            late.start()
        except RuntimeError as error:  # no thread can be started: it ends all the same
            LOG.warning("hotplug.unwatched_end", extra={"plugin": generation.name, "text": str(error)})
        try:
            self._unload(generation)
        finally:
            late.cancel()
        self._finish(generation)

    def _say_late(self, generation: Generation) -> None:
        limit = self.limit_of(generation)
        said = f"on_unload (or an undo) has not ended within {limit:g} s; its thread can't be killed"
        tell_problems(self._events, generation.name, generation.number, [said])
        self._events.deliver()

    def _unload(self, generation: Generation) -> None:
        timeout = self.limit_of(generation)
        successor = self._successor_of(generation)
        successor = None if successor is generation else successor  # it is taken down before the new one loads
        problems = self._loader.unload(generation, started=True, timeout=timeout, successor=successor)
        tell_problems(self._events, generation.name, generation.number, problems)

    def _finish(self, generation: Generation) -> None:
        generation.context.stopping.set()
        # The typing caches pin every generation of a perfectly clean plugin until they are cleared.
        for cleanup in getattr(typing, "_cleanups", ()):
            cleanup()
        self._events.post(Event("retired", generation.name, generation.number, generation.version, generation.digest))
        LOG.info("hotplug.retired", extra={"plugin": generation.name, "generation": generation.number})
        for used in list(generation.bound.values()):  # after it: what was used retires after its user
            self._leases.unbind(used)
        self._events.deliver()


def tell_problems(events: Events, plugin: str, number: int, problems: Iterable[str]) -> None:
    """Say what could not be undone of a generation that ended or was refused."""
    for problem in problems:
        text = f"{plugin}: generation {number}: {visible(problem)} [retire-problem]"
        LOG.error("hotplug.retire_problem", extra={"plugin": plugin, "text": text})
        events.post(Event("error", plugin, number, message=text))
