"""Versions from before, asked for by hand: roll back to a kept one, and end that.

Decides which bytes a build gets; building is for `reload`, keeping copies for `recording`.
"""

from __future__ import annotations

import logging
from typing import Protocol

from pytest_hotplug.reloader.build import Parts
from pytest_hotplug.reloader.errors import PluginFault
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.kept import Kept, Pin
from pytest_hotplug.reloader.lock_file import not_locked
from pytest_hotplug.reloader.outcomes import Outcome, Unchanged
from pytest_hotplug.reloader.recording import Recorder
from pytest_hotplug.reloader.registry import Slot
from pytest_hotplug.reloader.telling import Telling

__all__ = ["KeptCopies", "Rollback"]

LOG = logging.getLogger("hotplug")


class KeptCopies:
    """The copies of good versions, as snapshots that can be loaded."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def pinned(self, slot: Slot) -> Snapshot | None:
        """Return the version that a rollback before the last restart pinned, None (and say so) when it is lost."""
        assert slot.pin is not None, "only a pinned plugin has a pinned copy"
        pinned = slot.pin.digest
        kept = next((v for v in self._recorder.notes(slot.name).versions if v.digest == pinned), None)
        found = self.of(slot, kept) if kept is not None else None
        if found is None:
            text = f"{slot.name}: the version {pinned[:12]} that was rolled back to is no longer kept"
            LOG.error("hotplug.pin_lost", extra={"plugin": slot.name, "text": text})
            slot.pin = None
        return found

    def last_good(self, slot: Slot) -> Snapshot | None:
        """Return the version that served last before a restart, None when none is kept."""
        kept = self._recorder.last_good(slot.name)
        return self.of(slot, kept) if kept is not None else None

    def of(self, slot: Slot, kept: Kept) -> Snapshot | None:
        """Return a kept version, None (and say so) when its copy is damaged, or no longer allowed."""
        try:
            return self.read(slot, kept)
        except PluginFault as fault:
            event = fault.fault.slug.replace("-", "_")
            LOG.error(f"hotplug.{event}", extra={"plugin": slot.name, "text": str(fault)})
            return None

    def forgotten(self, slot: Slot, kept: Kept) -> bool:
        """Tell whether another process over the same state directory removed a version since it was chosen.

        The notes cease to name a copy before it goes, so they tell a copy that was removed from a damaged one.
        """
        return (kept.digest, kept.directory) not in {
            (known.digest, known.directory) for known in self._recorder.notes(slot.name).versions
        }

    def read(self, slot: Slot, kept: Kept) -> Snapshot:
        """Return a kept version; raises PluginFault when its copy is damaged, or the lock file doesn't list it."""
        snapshot = self._recorder.read(slot.name, kept)
        if faults := [*not_locked(slot.found, snapshot)]:
            raise PluginFault(*faults)
        return snapshot


class Loads(Protocol):
    """What a rollback asks of the reload that it is part of; the plugin's turn is taken."""

    def load_kept(self, slot: Slot, snapshot: Snapshot, pins: dict[str, Pin]) -> Outcome:
        """Let a kept version serve, with what depends on the plugin; `pins` make it stay."""
        ...

    def load_from_disk(self, slot: Slot) -> Outcome:
        """Load what lies on disk, whether or not it changed."""
        ...


class Rollback:
    """Goes back to kept versions, for one manager."""

    def __init__(self, parts: Parts, recorder: Recorder, copies: KeptCopies, telling: Telling, loads: Loads) -> None:
        self._parts = parts
        self._recorder = recorder
        self._copies = copies
        self._telling = telling
        self._loads = loads

    def roll_back(self, slot: Slot, to: str | None) -> Outcome:
        """Serve a kept version, by its digest or the newest older one."""
        notes = self._recorder.notes(slot.name)
        serving = self._parts.registry.serving.get(slot.name)
        kept = notes.before(serving.digest if serving else None) if to is None else notes.find(to)
        if kept is None:
            return self._telling.kept(slot, "nothing-kept", f"{slot.name}: no older version is kept")
        if serving is not None and serving.digest == kept.digest:
            return Unchanged(name=slot.name, serving=serving.number, reason="serves-already")
        seen = self._parts.checker.look_again(slot)
        if seen is not None and seen.digest == kept.digest:
            slot.kept_out = None  # whoever names it wants it, whatever a user of before makes of it
            return self._from_disk_again(slot)  # it lies there: nothing to pin
        try:
            snapshot = self._copies.read(slot, kept)
        except PluginFault as fault:
            if self._copies.forgotten(slot, kept):
                return self.roll_back(slot, to)
            return self._telling.refused(slot, fault.fault)
        pins = {slot.name: Pin(kept.digest, seen.digest if seen is not None else "")}
        return self._loads.load_kept(slot, snapshot, pins)

    def end(self, slot: Slot) -> Outcome:
        """Serve again what lies on disk."""
        return self._telling.nothing_new(slot) if slot.pin is None else self._from_disk_again(slot)

    def _from_disk_again(self, slot: Slot) -> Outcome:
        slot.pin = None
        outcome = self._loads.load_from_disk(slot)
        self._recorder.forget_pin(slot)
        return outcome
