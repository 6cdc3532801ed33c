"""Where what lies on disk is refused and nothing serves: the version that served last does, on what it needs.

Decides which plugins are loaded from kept copies; loading is for `reload`. Nothing is tried twice for a
call alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pytest_hotplug.reloader.build import Parts
from pytest_hotplug.reloader.errors import Fault
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.outcomes import Outcome
from pytest_hotplug.reloader.recording import Recorder
from pytest_hotplug.reloader.refusals import refuse
from pytest_hotplug.reloader.registry import Slot
from pytest_hotplug.reloader.rollback import KeptCopies

__all__ = ["LastGood"]

_TAKEN_AWAY = frozenset({"disabled", "plugin-missing"})  # on purpose: it comes back for nobody
# Refusals that say nothing against the bytes that count: a copy of the same ones may serve.
_ABOUT_ITS_PLACE = frozenset(
    {"escaping-link", "extension-module", "not-locked", "uncommitted", "unreadable", "untrusted"}
)
Copies = dict[str, Snapshot]  # by plugin: the kept version that it is loaded from instead of the disk


class Loads(Protocol):
    """What a fall-back asks of the reload that it is part of; the plugin's turn is taken."""

    def load_with(self, slot: Slot, copies: Mapping[str, Snapshot], needed: set[str]) -> Outcome:
        """Load a plugin, from disk unless its copy is among them, with kept versions of others, all or none.

        Adds to `needed` what else it was tried with.
        """
        ...


class LastGood:
    """Falls back on versions from before, for one manager."""

    def __init__(self, parts: Parts, recorder: Recorder, copies: KeptCopies, loads: Loads) -> None:
        self._parts = parts
        self._recorder = recorder
        self._copies = copies
        self._loads = loads

    def instead(self, slot: Slot, outcome: Outcome) -> Outcome:
        """Serve a version from before where the one on disk is refused and nothing serves; return what came of it."""
        fault = outcome.error
        if outcome.serving is not None or fault is None or (fault.plugin == slot.name and fault.slug in _TAKEN_AWAY):
            return outcome
        if self._parts.checker.was_in_vain(slot):
            return outcome
        tries = _Tries(self._loads, slot, fault)
        again = self._on_what_fits(tries, fault)
        if again is None:
            self._note_in_vain(slot, tries)
        return again or outcome

    def _on_what_fits(self, tries: _Tries, fault: Fault) -> Outcome | None:
        """Load with as much of what lies on disk as fits together.

        First on the newest of the others, the broken ones of them on their copies; then on older ones.
        """
        slot, new, old = tries.slot, Copies(), Copies()
        broken_itself = fault.plugin == slot.name and fault.own_bytes
        copied = fault.plugin != slot.name and fault.slug not in _TAKEN_AWAY
        if copied and (again := self._on_copies_of_broken(tries, fault.plugin, new)):
            return again
        if again := self._on_copies_of_broken(tries, slot.name, old):
            return again
        if not broken_itself and (again := self._on_copies_of_replaced(tries, new)):
            return again
        return self._on_copies_of_replaced(tries, old) if slot.name in old else None

    def _on_copies_of_broken(self, tries: _Tries, broken: str, copies: Copies) -> Outcome | None:
        """Load with the copy of a plugin that is broken, and of each that then turns out to be; all go to `copies`."""
        while broken not in copies and (broken != tries.slot.name or not copies):
            copy = self._copy_for(self._parts.slot_of(broken))
            if copy is None:
                return None
            copies[broken] = copy
            if again := tries.load(copies):
                return again
            if tries.fault.slug in _TAKEN_AWAY:
                return None
            broken = tries.fault.plugin
        return None

    def _on_copies_of_replaced(self, tries: _Tries, copies: Copies) -> Outcome | None:
        """Load on the old version of one that is needed and was replaced, else of all of them.

        What is needed shows only as a load goes on: there may be more of it after each.
        """
        tried: set[str] = set()
        while not tries.needed <= tried:
            tried |= tries.needed
            replaced = {name: copy for name in sorted(tried - copies.keys()) if (copy := self._replaced(name))}
            for some in [*({name: copy} for name, copy in replaced.items()), replaced]:
                if some and (again := tries.load({**copies, **some})):
                    return again
        return None

    def _replaced(self, name: str) -> Snapshot | None:
        """Return the last good version of an enabled plugin that doesn't serve, where another one lies on disk."""
        slot, kept = self._parts.registry.slots.get(name), self._recorder.last_good(name)
        seen = self._parts.checker.look_again(slot) if slot is not None else None
        if slot is None or kept is None or seen is None or seen.digest == kept.digest:
            return None
        self._parts.checker.read_enabled(slot)
        return self._copy_for(slot) if slot.enabled else None

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

    def _note_in_vain(self, slot: Slot, tries: _Tries) -> None:
        """Remember that nothing from before serves either, until something about that changes."""
        why = slot.refusal
        if why is not None:
            before = slot.in_vain[1] if slot.in_vain is not None and slot.in_vain[0] is why else None
            among = self._parts.checker.surroundings(sorted(tries.needed))
            slot.in_vain = why, refuse(tries.fault, why.digest, None, before, among=among)


class _Tries:
    """What was tried for one plugin. Each try is one load, all or none: what only a failed one needed doesn't serve."""

    def __init__(self, loads: Loads, slot: Slot, fault: Fault) -> None:
        self.slot = slot
        self.fault = fault  # why the last one failed
        among = slot.refusal.among if slot.refusal is not None else ()
        self.needed = {name for name, *_ in among}  # it was tried with these
        self._loads = loads

    def load(self, copies: Copies) -> Outcome | None:
        """Load the plugin with these; None when it doesn't serve then."""
        self.needed |= copies.keys() - {self.slot.name}
        outcome = self._loads.load_with(self.slot, copies, self.needed)
        self.needed.discard(self.slot.name)
        self.fault = outcome.error or self.fault
        return outcome if outcome.serving is not None else None
