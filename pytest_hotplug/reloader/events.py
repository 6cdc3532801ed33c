"""Facts about what happened to a plugin, and subscribers that cannot hurt a reload.

Events are queued inside the reload and delivered outside its lock, in order. A subscriber that
raises is logged and hurts nobody. Knows nothing of how a reload works.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from pytest_hotplug.reloader.asking import asked_by, asked_for
from pytest_hotplug.reloader.errors import Fault, UsageError, did_you_mean

__all__ = ["Event", "Events", "Kind"]

Kind = Literal["loaded", "kept", "error", "unloaded", "retired"]
KINDS: tuple[str, ...] = get_args(Kind)
LOG = logging.getLogger("hotplug")
LOG.addHandler(logging.NullHandler())  # a library stays silent until its host configures logging


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a plugin.

    Kinds: `loaded` (a generation now serves), `kept` (new bytes refused), `error` (its text),
    `unloaded` (no longer serves), `retired` (an old generation is gone). `at` is `time.time()`; `asked_by` is
    who asked for it: `call`, `watcher`, `start`, or what the host said; empty when nobody said. `seconds`
    passed since then, all waiting included; None where it is the end of no request (an old version's, say).
    """

    kind: Kind
    plugin: str
    generation: int | None = None
    version: str = ""
    digest: str = ""
    message: str = ""
    error: Fault | None = None
    at: float = field(default_factory=time.time)
    asked_by: str = field(default_factory=asked_by)
    seconds: float | None = field(default_factory=asked_for)


class Events:
    """The subscribers of one manager, and the facts that wait for delivery."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Event], None]] = []
        self._waiting: deque[Event] = deque()
        # One thread delivers at a time, so that order is kept; reentrant, because a callback may reload.
        self._delivery = threading.RLock()
        self._delivering = False  # guarded by _delivery
        self._at_hand: tuple[Event, Iterator[Callable[[Event], None]]] | None = None  # the same: who must hear yet

    def after_fork(self) -> None:
        """Start, in a child process, with a lock that no thread of the parent holds."""
        self._delivery = threading.RLock()
        self._delivering = False
        self._at_hand = None  # a thread of the parent goes on with it there

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Call `subscriber` with every event from now on; return what ends it."""
        self._subscribers = [*self._subscribers, subscriber]

        def unsubscribe() -> None:
            self._subscribers = [s for s in self._subscribers if s is not subscriber]

        return unsubscribe

    def register_callback(self, kind: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Call `callback(plugin_name)`, for "error" `callback(plugin_name, message)`; return what ends it."""
        if kind not in KINDS:
            known = ", ".join(KINDS)
            raise UsageError(f"no event is called {kind!r}{did_you_mean(kind, KINDS)} ({known})", "unknown-event")

        def relay(event: Event) -> None:
            if event.kind == kind:
                callback(event.plugin, event.message) if kind == "error" else callback(event.plugin)

        return self.subscribe(relay)

    def post(self, *events: Event) -> None:
        """Queue facts; `deliver` hands them out once no lock of the reload is held."""
        self._waiting.extend(events)

    def post_each(self, events: Iterator[Event]) -> None:
        """Queue what an iterator holds; again with the same one, after a signal cut it short, queues nothing twice."""
        self._waiting.extend(events)

    def deliver(self) -> None:
        """Hand out everything that waits, in order, before returning.

        Asked from inside a callback it returns at once: what waits comes when every subscriber has
        heard of the event at hand. What an interrupt in a callback cuts short goes on with the next subscriber
        when it is asked again.
        """
        with self._delivery:
            if self._delivering:
                return
            self._delivering = True
            try:
                while self._at_hand is not None or self._waiting:
                    if self._at_hand is None:
                        hearers = iter(self._subscribers)
                        # No signal handler runs between these: none is a call.
                        event = self._waiting[0]
                        del self._waiting[0]
                        self._at_hand = event, hearers
                    event, hearers = self._at_hand
                    for subscriber in hearers:
                        self._tell(subscriber, event)
                    self._at_hand = None
            finally:
                self._delivering = False

    @staticmethod
    def _tell(subscriber: Callable[[Event], None], event: Event) -> None:
        try:
            subscriber(event)
        except KeyboardInterrupt:
            raise
        except BaseException:  # an exit of a callback's own, too, must not end a reload that succeeded
            LOG.exception("hotplug.callback_failed", extra={"plugin": event.plugin, "kind": event.kind})
