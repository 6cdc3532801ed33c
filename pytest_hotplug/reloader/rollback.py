"""Versions from before: roll back to a kept one, end that, and fall back on the last good one after a restart.

Decides which bytes a build gets; building is for `reload`, keeping copies for `recording`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
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
_TAKEN_AWAY = frozenset({"disabled", "plugin-missing"})  # on purpose: it comes back for nobody
# Refusals that say nothing against the bytes that count: a copy of the same ones may serve.
_ABOUT_ITS_PLACE = frozenset(
    {"escaping-link", "extension-module", "not-locked", "uncommitted", "unreadable", "untrusted"}
)


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

    def load_with(self, slot: Slot, copies: Mapping[str, Snapshot]) -> Outcome:
        """Load what lies on disk together with kept versions of other plugins, all or none."""
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

    def last_good(self, slot: Slot, outcome: Outcome) -> Outcome:
        """Serve the last good version from before a restart where the one on disk is refused and nothing serves."""
        if outcome.serving is not None or outcome.error is None or outcome.error.slug in _TAKEN_AWAY:
            return outcome
        broken = self._parts.slot_of(outcome.error.plugin)
        tried: set[str] = set()
        if broken is not slot and self._serve_copy(broken, tried) is not None:
            return self._loads.load_from_disk(slot)
        if self._serve_copy(slot, tried) is not None:  # its new bytes only need the broken one: those before may not
            self._serve_copy(broken, set())
        elif (again := self._serve_on_copies(slot)) is not None:
            self._serve_copy(broken, set())  # it may fit together with those
            return again
        serving = self._parts.registry.serving.get(slot.name)
        return replace(outcome, serving=serving.number if serving else None)

    def _serve_on_copies(self, slot: Slot) -> Outcome | None:
        """Let a plugin serve on the copy of one that it was tried with, else on those of all, where that helps."""
        copies = {other.name: copy for other in self._replaced_around(slot) if (copy := self._copy_for(other))}
        for some in [*({name: copy} for name, copy in copies.items()), copies]:
            if some and (again := self._loads.load_with(slot, some)).serving is not None:
                return again
        return None

    def _replaced_around(self, slot: Slot) -> list[Slot]:
        """Return the plugins that a refused one was tried with, and that were others when they served last."""
        among = slot.refusal.among if slot.refusal is not None else ()
        kept = {name: self._recorder.last_good(name) for name, disk, served in among if disk and not served}
        others = [self._parts.slot_of(n) for n, disk, _ in among if (k := kept.get(n)) is not None and k.digest != disk]
        for other in others:
            self._parts.checker.read_enabled(other)
        return [other for other in others if other.enabled]

    def _serve_copy(self, broken: Slot, tried: set[str]) -> Outcome | None:
        """Let a copy serve, before it those of refused plugins that it needs; each is `tried` once. None: it can't."""
        snapshot = None if broken.name in tried else self._copy_for(broken)
        tried.add(broken.name)
        while snapshot is not None:
            again = self._loads.load_kept(broken, snapshot, {})
            if again.serving is not None:
                return again
            needed = again.error
            if needed is None or needed.slug in _TAKEN_AWAY:
                break
            if self._serve_copy(self._parts.slot_of(needed.plugin), tried) is None:
                break
        return None

    def _copy_for(self, broken: Slot) -> Snapshot | None:
        """Return the last good version of a plugin, unless it serves, or is what was refused for its content."""
        kept = self._recorder.last_good(broken.name)
        if broken.name in self._parts.registry.serving or kept is None:
            return None
        refusal = broken.refusal
        same = refusal is not None and refusal.digest == kept.digest
        if same and refusal is not None and refusal.fault.slug not in _ABOUT_ITS_PLACE:
            return None
        snapshot = self._copies.of(broken, kept)
        return self._copy_for(broken) if snapshot is None and self._copies.forgotten(broken, kept) else snapshot
