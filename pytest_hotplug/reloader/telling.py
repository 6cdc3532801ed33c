"""What people and callers are told when a version can't serve: log, events, outcome, and the refusal itself.

The bad version is remembered, the old one serves on. Loads nothing and swaps nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pytest_hotplug.reloader.build import Build
from pytest_hotplug.reloader.errors import Fault
from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.outcomes import KeptCurrent, Outcome, Unchanged
from pytest_hotplug.reloader.refusals import refuse
from pytest_hotplug.reloader.registry import Registry, Slot

__all__ = ["Telling"]

LOG = logging.getLogger("hotplug")


class Telling:
    """Says, for one manager, why a version is kept, refused or left as it is."""

    def __init__(self, registry: Registry, events: Events, slot_of: Callable[[str], Slot]) -> None:
        self._registry = registry
        self._events = events
        self._slot_of = slot_of

    def refused(self, slot: Slot, fault: Fault, build: Build | None = None) -> Outcome:
        """Remember the bad version, say so, and let the old one serve on."""
        asked = slot
        if build is not None:
            if build.can_do_without(fault):
                build.left_out = frozenset({fault.plugin})
                slot = self._slot_of(fault.plugin)
            self._remember(fault, build)
        serving = self._registry.serving.get(slot.name)
        text = fault.render(_headline(fault, slot, serving))
        LOG.error("hotplug.kept", extra={"plugin": slot.name, "slug": fault.slug, "text": text})
        number = serving.number if serving else None
        if number is not None:
            self._events.post(Event("kept", slot.name, number, message=str(fault), error=fault))
        self._events.post(Event("error", slot.name, number, message=text, error=fault))
        return self.kept(asked, _reason(asked, fault), error=fault)

    def _remember(self, fault: Fault, build: Build) -> None:
        """Let the new bytes that a fault is held against count as refused."""
        for name, found in build.refused_by(fault):
            own = self._slot_of(name)
            serving = self._registry.serving.get(name)
            if serving is None or serving.digest != found.digest or self._registry.stands_in(own):
                on_disk = own.pin.disk if found.home is not None and own.pin is not None else found.digest
                through = fault.plugin != name and not build.affects(fault.plugin)
                among = build.among(name)
                own.refusal = refuse(fault, on_disk, found.look, own.refusal, through_dependency=through, among=among)

    def kept(self, slot: Slot, reason: str, message: str = "", error: Fault | None = None) -> Outcome:
        """Log `message` as a warning if there is one, and return that nothing changed."""
        serving = self._registry.serving.get(slot.name)
        if message:
            LOG.warning("hotplug.kept", extra={"plugin": slot.name, "reason": reason, "text": message})
        return KeptCurrent(name=slot.name, serving=serving.number if serving else None, reason=reason, error=error)

    def nothing_new(self, slot: Slot) -> Outcome:
        """Return the outcome for bytes that are known: they serve, or were refused before."""
        if slot.refusal is not None:
            return self.kept(slot, _reason(slot, slot.refusal.fault), error=slot.refusal.fault)
        serving = self._registry.serving.get(slot.name)
        LOG.info("hotplug.same_content", extra={"plugin": slot.name, "text": "same content, not reloaded"})
        return Unchanged(name=slot.name, serving=serving.number if serving else None, reason="same-content")

    def tell(self, slot: Slot, fault: Fault) -> None:
        """Say something about a plugin as an error event, outside of any reload."""
        self.note(slot, fault)
        self._events.deliver()

    def note(self, slot: Slot, fault: Fault) -> None:
        """Say the same inside a reload, whose end delivers it."""
        serving = self._registry.serving.get(slot.name)
        text = fault.render(f"{slot.name}: something is wrong.")
        LOG.error("hotplug.error", extra={"plugin": slot.name, "slug": fault.slug, "text": text})
        number = serving.number if serving is not None else None
        self._events.post(Event("error", slot.name, number, message=text, error=fault))


def _reason(slot: Slot, fault: Fault) -> str:
    """Return why a plugin's current version is kept, in a word or two."""
    if fault.slug == "calls-in-flight":
        return "calls in flight"
    return "refused" if fault.plugin == slot.name else f"{fault.plugin} was refused"


def _headline(fault: Fault, slot: Slot, serving: Generation | None) -> str:
    subject = slot.name if fault.plugin == slot.name else f"{slot.name} (through {fault.plugin})"
    number = slot.number + 1
    if serving is None:
        return f"{subject}: generation {number} could not be loaded, and nothing serves."
    return f"{subject}: generation {number} could not be loaded, generation {serving.number} keeps serving."
