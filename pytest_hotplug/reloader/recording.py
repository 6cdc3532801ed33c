"""Write down what happened: good versions, refusals, pins, pauses; and recall it after a restart.

Hears of everything through events, after the swap and outside every lock: a store that fails (a
full disk, say) is told in the log and in `health`, and hurts no reload. What could not be written is
written at the next look at `health`, or once anything else can be.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.kept import Kept, KeptOut, Notes, Record, Store, Switch, What
from pytest_hotplug.reloader.registry import Registry, Slot

__all__ = ["Recorder"]

LOG = logging.getLogger("hotplug")
T = TypeVar("T")
MOST_OWED = 1000  # pieces of work that wait for a store that can be written again


class Recorder:
    """Keeps the books of one manager."""

    def __init__(self, store: Store, registry: Registry, events: Events, worker: str = "") -> None:
        self.store = store
        self._worker = worker  # what history calls the process that does it; `{pid}` stands for its number
        self._problems: dict[str, str] = {}  # by what was tried: why it failed the last time
        self._owed: dict[Hashable, tuple[str, Callable[[], object]]] = {}  # by what it is about: what wasn't written
        self._paying = threading.Lock()
        self._registry = registry
        events.subscribe(self._heard)

    @property
    def problem(self) -> str:
        """Return why the store could not be used, an empty string while all is well; what waits is tried first."""
        self._pay()
        return next(iter(self._problems.values()), "")

    def recall(self, slots: list[Slot]) -> None:
        """Take over what an earlier process left about plugins that this one sees for the first time."""
        nothing: set[str] = set()
        known = self._guarded("look", self.store.known, nothing) if slots else nothing
        for slot in slots:
            if slot.name in known:
                notes = self.notes(slot.name)
                slot.pin, slot.kept_out = notes.pin, notes.kept_out
                slot.paused, slot.paused_until = notes.paused, notes.paused_until

    def notes(self, plugin: str) -> Notes:
        """Return what is known of a plugin from before, nothing when the store can't be read."""
        return self._guarded("look", lambda: self.store.notes(plugin), Notes())

    def last_good(self, plugin: str) -> Kept | None:
        return self.notes(plugin).last_good()

    def read(self, plugin: str, kept: Kept) -> Snapshot:
        """Return a kept version's files; raises PluginFault when the copy is damaged or there is no room for it."""
        try:
            return self.store.read(plugin, kept)
        except OSError as error:
            message = f"version {kept.digest[:12]} can't be put in place: {error}"
            remedy = "Make room, or give the process a directory that it may write; then roll back again."
            raise PluginFault(Fault(plugin, "state-unusable", message, remedy=remedy, own_bytes=False)) from None

    def history(self, plugin: str) -> list[Record]:
        return self._guarded("look", lambda: self.store.history(plugin), [])

    def forget_pin(self, slot: Slot) -> None:
        """Remember the end of a rollback that new files ended although they don't serve."""
        if slot.pin is None and self.notes(slot.name).pin is not None:
            self._write("note", ("pin", slot.name), partial(self._forget_pin, slot))

    def set_paused(self, slot: Slot) -> None:
        self._write("note", ("pause", slot.name), partial(self._set_paused, slot))

    def set_enabled(self, enabled: bool, until: float | None = None) -> None:
        self._write("note", "switch", lambda: self.store.set_enabled(enabled, until))

    def switch(self) -> Switch:
        return self._guarded("look", lambda: self.store.switch, Switch())

    def _heard(self, event: Event) -> None:
        if event.kind == "loaded":
            self._write("keep", ("keep", event.plugin), lambda: self._keep(event))
        elif event.kind == "error" and event.error is not None:
            fault = event.error
            self._note_kept_out()
            self._add(event, "refused", slug=fault.slug, message=str(fault))
        elif event.kind == "kept" and event.plugin in self._registry.slots:
            self.forget_pin(self._registry.slots[event.plugin])
        elif event.kind == "unloaded":
            self._add(event, "unloaded", generation=event.generation)

    def _keep(self, event: Event) -> None:
        generation = self._registry.serving.get(event.plugin)
        if generation is None or generation.number != event.generation:
            return  # it was replaced before we came to it; its successor's event follows
        pin = self._registry.slots[event.plugin].pin
        self.store.serves(event.plugin, generation.snapshot, generation.version, pin)
        self._add(event, "loaded" if pin is None else "rolled-back", generation=event.generation)

    def _note_kept_out(self) -> None:
        """Remember over a restart which versions were refused for the sake of plugins that use what serves."""
        for slot in list(self._registry.slots.values()):
            kept_out = slot.refusal.for_a_user(slot.name) if slot.refusal is not None else None
            if kept_out is not None and kept_out != self.notes(slot.name).kept_out:
                self._write("note", ("out", slot.name), partial(self._set_kept_out, slot, kept_out))

    def _add(self, event: Event, kind: What, **more: Any) -> None:
        worker = self._worker.replace("{pid}", str(os.getpid()))
        record = Record(kind, event.at, event.version, event.digest, asked_by=event.asked_by, worker=worker, **more)
        self._write("record", (event.plugin, kind, event.at), lambda: self.store.record(event.plugin, record))

    # What is written may be written late, so each looks at how things are by then.

    def _forget_pin(self, slot: Slot) -> None:
        if slot.pin is None:
            self.store.forget_pin(slot.name)

    def _set_paused(self, slot: Slot) -> None:
        self.store.set_paused(slot.name, slot.paused, slot.paused_until)

    def _set_kept_out(self, slot: Slot, kept_out: KeptOut) -> None:
        if slot.refusal is not None and slot.refusal.for_a_user(slot.name) == kept_out:
            self.store.set_kept_out(slot.name, kept_out)

    def _write(self, what: str, about: Hashable, work: Callable[[], object]) -> None:
        """Write something down; while that can't be done it is owed, the last word about each thing."""
        self._owed.pop(about, None)
        self._pay()  # first: what happened before stands before it in the history
        if not self._done(what, work) and len(self._owed) < MOST_OWED:
            self._owed[about] = what, work

    def _pay(self) -> None:
        """Write what is owed, the oldest first, until something can't be written again."""
        if not self._owed or not self._paying.acquire(blocking=False):
            return
        try:
            for about, (what, work) in list(self._owed.items()):
                if not self._done(what, work):
                    return
                self._owed.pop(about, None)
        finally:
            self._paying.release()

    def _done(self, what: str, work: Callable[[], object]) -> bool:
        """Do something with the store, and tell whether that could be done."""

        def all_of_it() -> bool:
            work()
            return True

        return self._guarded(what, all_of_it, otherwise=False)

    def _guarded(self, what: str, work: Callable[[], T], otherwise: T) -> T:
        """Do something with the store; one kind of work that succeeds says nothing of another that failed."""
        try:
            result = work()
        except OSError as error:
            if str(error) not in self._problems.values():
                LOG.warning("hotplug.store_failed", extra={"text": f"the state directory can't be used: {error}"})
            self._problems[what] = str(error)
            return otherwise
        self._problems.pop(what, None)
        return result
