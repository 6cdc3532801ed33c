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
from collections.abc import Callable, Iterable, Iterator

from pytest_hotplug.reloader.asking import on_behalf
from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.garbage import one_more_retired
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.leases import Leases
from pytest_hotplug.reloader.loader import Loader
from pytest_hotplug.reloader.settings import InUse
from pytest_hotplug.reloader.waiting import Bell

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
        in_use: InUse,
        successor_of: Callable[[Generation], Generation | None],
    ) -> None:
        self._loader = loader
        self._leases = leases
        self._events = events
        self._in_use = in_use
        self._successor_of = successor_of
        # Guards all that follows but _gone. A finalizer that runs while it is held may end a call, too.
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._ended: weakref.WeakSet[Generation] = weakref.WeakSet()  # their on_unload has begun, and begins once
        self._claimed: weakref.WeakSet[Generation] = weakref.WeakSet()  # somebody brings their end about
        self._lingering: dict[Generation, None] = {}  # they no longer serve, and have not ended
        self._saying: dict[
            Generation, Iterator[Event]
        ] = {}  # their end is being told, by a thread that signals may hit
        self._starting: dict[Generation, float] = {}  # their load is under way, or was given up; until when it may be
        self._gone = Bell()  # rings when one of those has

    def after_fork(self) -> None:
        """Forget, in a child process, the threads of the parent, and what they would have ended."""
        self._lock = threading.RLock()
        self._threads = []
        self._lingering = {}
        self._starting = {}
        self._saying = {}
        self._gone = Bell()

    def supersede(self, old: Iterable[Generation], *, wait: bool) -> None:
        """Retire generations that no longer serve, each at its last lease's end; may be repeated.

        With `wait`, idle ones get a moment to end before this returns.
        """
        deadline = time.monotonic() + GRACE
        for generation in old:
            with self._lock:
                if generation not in self._claimed:
                    self._lingering[generation] = None
            self._leases.when_idle(generation, on_behalf(lambda g=generation: self._begin(g)))
        if wait:
            self.join(max(0.0, deadline - time.monotonic()))

    def lingering(self, name: str) -> list[Generation]:
        """Return the generations of a plugin that don't serve, and have not ended.

        Those whose load was given up before its time was over are among them, until that or their end.
        """
        with self._lock:
            now = time.monotonic()
            starting = [generation for generation, until in self._starting.items() if now < until]
            return [generation for generation in (*self._lingering, *starting) if generation.name == name]

    def starts(self, generation: Generation, until: float) -> None:
        """Note that a version is started, by a load that nobody waits for after `until` (`time.monotonic()`)."""
        with self._lock:
            self._starting[generation] = until

    def has_started(self, generation: Generation) -> None:
        """Note that a version serves, or was taken down again; may be repeated."""
        with self._lock:
            self._starting.pop(generation, None)
        with self._gone.lock:
            self._gone.ring()

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait until `reached()`, which is asked whenever a generation has ended; False after `timeout` seconds."""
        return self._gone.wait_for(reached, timeout)

    def take_down(self, generation: Generation) -> None:
        """Run a generation's on_unload and undo while it still counts as serving; nothing of it runs twice."""
        if self._begins_to_end(generation):
            self._unload(generation)

    def limit_of(self, generation: Generation) -> float:
        """Return the seconds after which it is said that a generation does not end."""
        limit = generation.manifest.retire_timeout
        return self._in_use.now.retire_timeout if limit is None else limit

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
        joined: set[threading.Thread] = {threading.current_thread()}
        while True:
            with self._lock:
                threads = set(self._threads) - joined
            if not threads:
                return
            for thread in threads:  # each may begin others: what it used is free now
                thread.join(max(0.0, deadline - time.monotonic()))
            joined |= threads

    def _begin(self, generation: Generation) -> None:
        """Bring an end about. May be repeated: a signal may cut it short, but hits no thread of ours."""
        if generation in self._claimed and generation not in self._saying:
            return
        if not generation.bound and (generation in self._ended or not self._loader.has_work(generation)):
            self._end_at_once(generation)
            return
        name = f"hotplug-retire-{generation.name}-{generation.number}"
        thread = threading.Thread(target=on_behalf(self._end), args=(generation,), name=name, daemon=True)
        try:
            with self._lock:
                self._threads = [t for t in self._threads if t.is_alive()]
                thread.start()
                self._threads.append(thread)
        except RuntimeError:  # no thread can be started: it ends all the same
            self._end(generation)

    def _end_at_once(self, generation: Generation) -> None:
        """End a generation that nothing must be done for; may be repeated until it was told, and tells it once."""
        self._forget(generation)
        with self._lock:
            if generation in self._claimed and generation not in self._saying:
                return  # another thread has brought it about, and told it
            saying = self._saying.setdefault(generation, iter([_retired(generation)]))
        if self._claims(generation):
            self._let_go(generation)
        self._events.post_each(saying)
        with self._lock:
            self._saying.pop(generation, None)
        self._events.deliver()

    def _claims(self, generation: Generation) -> bool:
        """Tell whether the caller is the one who brings a generation's end about."""
        with self._lock:
            first = generation not in self._claimed
            self._claimed.add(generation)
        return first

    def _end(self, generation: Generation) -> None:
        if not self._claims(generation):
            return
        if self._begins_to_end(generation):
            self._unload_watched(generation)
        self._forget(generation)
        self._let_go(generation)
        self._events.post(_retired(generation))
        for used in list(generation.bound.values()):  # after it: what was used retires after its user
            self._leases.unbind(used)
        self._events.deliver()

    def _unload_watched(self, generation: Generation) -> None:
        facts = (generation.name, generation.number, self.limit_of(generation))  # the timer must not hold it
        late = threading.Timer(self.patience_with(generation), on_behalf(self._say_late), facts)
        late.name, late.daemon = f"hotplug-late-{generation.name}-{generation.number}", True
        try:
            late.start()
        except RuntimeError as error:  # no thread can be started: it ends all the same
            LOG.warning("hotplug.unwatched_end", extra={"plugin": generation.name, "text": str(error)})
        try:
            self._unload(generation)
        finally:
            late.cancel()
            if late.ident is not None:
                late.join(GRACE)  # at once, unless it is just telling somebody

    def _say_late(self, name: str, number: int, limit: float) -> None:
        said = f"on_unload (or an undo) has not ended within {limit:g} s; its thread can't be killed"
        tell_problems(self._events, name, number, [said])
        self._events.deliver()

    def _unload(self, generation: Generation) -> None:
        timeout = self.limit_of(generation)
        successor = self._successor_of(generation)
        successor = None if successor is generation else successor  # it is taken down before the new one loads
        problems = self._loader.unload(generation, started=True, timeout=timeout, successor=successor)
        tell_problems(self._events, generation.name, generation.number, problems)

    def _forget(self, generation: Generation) -> None:
        """Let go of a generation that has ended; may be repeated."""
        with self._lock:
            self._lingering.pop(generation, None)
        with self._gone.lock:
            self._gone.ring()

    def _let_go(self, generation: Generation) -> None:
        """Drop what else refers to a generation, and log its end."""
        generation.context.stopping.set()  # once: a signal may leave the lock inside of it taken
        # The typing caches pin every generation of a perfectly clean plugin until they are cleared.
        for cleanup in getattr(typing, "_cleanups", ()):
            cleanup()
        LOG.info("hotplug.retired", extra={"plugin": generation.name, "generation": generation.number})
        one_more_retired()


def _retired(generation: Generation) -> Event:
    return Event("retired", generation.name, generation.number, generation.version, generation.digest)


def tell_problems(events: Events, plugin: str, number: int, problems: Iterable[str]) -> None:
    """Say what could not be undone of a generation that ended or was refused."""
    for problem in problems:
        text = f"{plugin}: generation {number}: {visible(problem)} [retire-problem]"
        LOG.error("hotplug.retire_problem", extra={"plugin": plugin, "text": text})
        events.post(Event("error", plugin, number, message=text))
