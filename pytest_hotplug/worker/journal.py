"""What happened to plugins, over restarts and workers: the histories of all plugins as one, and what happens now."""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pytest_hotplug.default import PluginManager
    from pytest_hotplug.reloader.events import Event
    from pytest_hotplug.reloader.kept import Store

__all__ = ["Feed", "identity", "past"]

MOST_BEHIND = 1000  # events that a reader may be late


def past(
    store: Store, plugin: str | None = None, *, since: float | None = None, tail: int | None = None
) -> list[dict[str, Any]]:
    """Return the records of one plugin or of all, the oldest first; from `since` (`time.time()`), the last `tail`."""
    names = [plugin] if plugin is not None else sorted(store.known())
    told = [[{"plugin": name, **msgspec.to_builtins(record)} for record in store.history(name)] for name in names]
    merged = [facts for facts in heapq.merge(*told, key=itemgetter("at")) if since is None or facts["at"] >= since]
    return merged if tail is None else merged[len(merged) - min(tail, len(merged)) :]


def identity(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells a record of the past, and the same fact in a feed, from all others."""
    return facts["plugin"], facts["kind"], facts["at"], facts.get("worker")


class Feed:
    """What happens now, for readers on an event loop; one that is too slow is let go, and hurts nobody."""

    def __init__(self, manager: PluginManager, worker: str) -> None:
        self._registry = manager._registry
        self._worker = worker
        self._lock = threading.Lock()  # guards _readers
        self._readers: list[_Reader] = []
        manager.subscribe(self._heard)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Queue[dict[str, Any] | None]]:
        """Give a queue of what happens from now on, on the running loop; None ends it."""
        reader = _Reader(asyncio.get_running_loop())
        with self._lock:
            self._readers.append(reader)
        try:
            yield reader.queue
        finally:
            with self._lock:
                self._readers.remove(reader)

    def close(self) -> None:
        """Let every reader end."""
        self._tell(None)

    def _heard(self, event: Event) -> None:
        if event.kind != "kept":  # the error that follows has the reason
            self._tell(self._facts(event))

    def _tell(self, facts: dict[str, Any] | None) -> None:
        with self._lock:
            readers = list(self._readers)
        for reader in readers:
            reader.tell(facts)

    def _facts(self, event: Event) -> dict[str, Any]:
        """Return an event as its record tells it."""
        slot = self._registry.slots.get(event.plugin)
        kind: str = "refused" if event.kind == "error" else event.kind
        if kind == "loaded" and slot is not None and slot.pin is not None:
            kind = "rolled-back"
        fault = event.error
        facts = {
            "plugin": event.plugin,
            "kind": kind,
            "at": event.at,
            "version": event.version,
            "digest": event.digest,
            "generation": event.generation,
            "slug": fault.slug if fault is not None else "",
            "message": str(fault) if fault is not None else event.message,
            "asked_by": event.asked_by,
            "worker": self._worker,
        }
        return {key: value for key, value in facts.items() if value not in ("", None)}


class _Reader:
    """One reader's queue, filled from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._loop = loop

    def tell(self, facts: dict[str, Any] | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._put, facts)
        except RuntimeError:  # its loop has ended, and the reader with it
            return

    def _put(self, facts: dict[str, Any] | None) -> None:
        if self.queue.qsize() < MOST_BEHIND:
            self.queue.put_nowait(facts)
        elif self.queue.qsize() == MOST_BEHIND:
            self.queue.put_nowait(None)
