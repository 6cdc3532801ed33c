"""Write down what happened: good versions, refusals, pins, pauses; and recall it after a restart.

Hears of everything through events, after the swap and outside every lock: a store that fails (a
full disk, say) is told in the log and in `health`, and hurts no reload.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, TypeVar

from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.kept import Kept, Notes, Record, Store
from pytest_hotplug.reloader.registry import Registry, Slot

__all__ = ["Recorder"]

LOG = logging.getLogger("hotplug")
T = TypeVar("T")


class Recorder:
    """Keeps the books of one manager."""

    def __init__(self, store: Store, registry: Registry, events: Events) -> None:
        self.store = store
        self.problem = ""  # why the store could not be used the last time; empty while all is well
        self._registry = registry
        events.subscribe(self._heard)

    def recall(self, slots: list[Slot]) -> None:
        """Take over what an earlier process left about plugins that this one sees for the first time."""
        nothing: set[str] = set()
        known = self._guarded(self.store.known, nothing) if slots else nothing
        for slot in slots:
            if slot.name in known:
                notes = self.notes(slot.name)
                slot.pin, slot.paused = notes.pin, notes.paused

    def notes(self, plugin: str) -> Notes:
        """Return what is known of a plugin from before, nothing when the store can't be read."""
        return self._guarded(lambda: self.store.notes(plugin), Notes())

    def last_good(self, plugin: str) -> Kept | None:
        return self.notes(plugin).last_good()

    def history(self, plugin: str) -> list[Record]:
        return self._guarded(lambda: self.store.history(plugin), [])

    def forget_pin(self, slot: Slot) -> None:
        """Remember the end of a rollback that new files ended although they don't serve."""
        if slot.pin is None and self.notes(slot.name).pin is not None:
            self._guarded(lambda: self.store.forget_pin(slot.name), None)

    def set_paused(self, slot: Slot) -> None:
        self._guarded(lambda: self.store.set_paused(slot.name, slot.paused), None)

    def set_enabled(self, enabled: bool) -> None:
        self._guarded(lambda: self.store.set_enabled(enabled), None)

    def enabled(self) -> bool:
        return self._guarded(lambda: self.store.enabled, True)

    def _heard(self, event: Event) -> None:
        if event.kind == "loaded":
            self._guarded(lambda: self._keep(event), None)
        elif event.kind == "error" and event.error is not None:
            fault = event.error
            self._add(event, Record("refused", event.at, digest=event.digest, slug=fault.slug, message=str(fault)))
        elif event.kind == "kept" and event.plugin in self._registry.slots:
            self.forget_pin(self._registry.slots[event.plugin])
        elif event.kind == "unloaded":
            self._add(event, Record("unloaded", event.at, event.version, event.digest, event.generation))

    def _keep(self, event: Event) -> None:
        generation = self._registry.serving.get(event.plugin)
        if generation is None or generation.number != event.generation:
            return  # it was replaced before we came to it; its successor's event follows
        pin = self._registry.slots[event.plugin].pin
        self.store.serves(event.plugin, generation.snapshot, generation.version, pin)
        kind: Literal["loaded", "rolled-back"] = "loaded" if pin is None else "rolled-back"
        self._add(event, Record(kind, event.at, event.version, event.digest, event.generation))

    def _add(self, event: Event, record: Record) -> None:
        self._guarded(lambda: self.store.record(event.plugin, record), None)

    def _guarded(self, work: Callable[[], T], otherwise: T) -> T:
        try:
            result = work()
        except OSError as error:
            if self.problem != str(error):
                LOG.warning("hotplug.store_failed", extra={"text": f"the state directory can't be used: {error}"})
            self.problem = str(error)
            return otherwise
        self.problem = ""
        return result
