"""One transaction's candidates: load beside, start, hand state over, swap; or nothing of it remains.

Runs on the reload thread inside a transaction that somebody else opened. Decides which of the
plugins concerned are loaded, in which order and from which bytes; what a failure means is for
`reload` to say.
"""

from __future__ import annotations

import logging
import time
import typing
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pytest_hotplug.reloader import finder, transaction
from pytest_hotplug.reloader.breaker import note_own_writing
from pytest_hotplug.reloader.check import Checker
from pytest_hotplug.reloader.dependencies import dependents_of, find_cycle
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginDisabled, PluginFault, UsageError, did_you_mean, forget_sources
from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.kept import Pin
from pytest_hotplug.reloader.leases import Leases
from pytest_hotplug.reloader.limits import limits_of
from pytest_hotplug.reloader.loader import Checked, Loader, State, manifest_of, prepare_package
from pytest_hotplug.reloader.manifest import Manifest
from pytest_hotplug.reloader.modules import Namespace
from pytest_hotplug.reloader.refusals import Surroundings
from pytest_hotplug.reloader.registry import Registry, Seen, Slot
from pytest_hotplug.reloader.retirement import Retirement, tell_problems
from pytest_hotplug.reloader.settings import InUse, Settings
from pytest_hotplug.reloader.side_effects import end_threads
from pytest_hotplug.reloader.staged import make_ordinary

__all__ = ["Build", "Parts", "StillThere", "event_of"]

LOG = logging.getLogger("hotplug")
_OF_THE_OLD = frozenset({"calls-in-flight", "unload-timeout"})  # no fault of new bytes: none is better off without them


class StillThere(PluginFault):
    """A plugin may not begin while an older generation, which serves no more, has not ended."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the reloads of one manager work with."""

    in_use: InUse
    registry: Registry
    leases: Leases
    events: Events
    loader: Loader
    checker: Checker
    slot_of: Callable[[str], Slot]
    owner: weakref.ref[finder.Owner]
    superseded: deque[Generation]  # they no longer serve, and wait to be retired
    retirement: Retirement

    @property
    def settings(self) -> Settings:
        """Return the settings in use at this moment."""
        return self.in_use.now


class Build:
    """One transaction's candidates, from the first executed line to the swap or the end of them."""

    def __init__(
        self,
        parts: Parts,
        fresh: Mapping[str, Snapshot],
        *,
        before: Mapping[str, Generation] | None = None,
        forced: str = "",
        states: Mapping[str, State | None] | None = None,
        from_disk: bool = True,
        pins: Mapping[str, Pin] | None = None,
        held: frozenset[str] = frozenset(),
        relied_on: set[str] | None = None,
        needed: set[str] | None = None,
    ) -> None:
        self._parts = parts
        self._registry = parts.registry
        self.fresh = dict(fresh)
        self.left_out: frozenset[str] = frozenset()  # by an attempt that failed: the next one can do without them
        self._wanted = frozenset(fresh)
        self._along: set[str] = set()  # came along unasked: dependents' new bytes, and what was needed and is sound
        self._relied_on = set() if relied_on is None else relied_on  # they serve, and were taken as they are
        self._needed = set() if needed is None else needed  # nobody asked for them, and nothing of them serves
        self._held = held  # their new bytes stay out, whoever depends on what
        self.order: list[str] = []
        self.candidates: dict[str, Generation] = {}
        self.at = ""  # the plugin whose code runs right now
        self.states: dict[str, State | None] = dict(states or {})
        self._before = parts.registry.serving if before is None else before  # what served when we looked
        self._forced = forced
        # The others are loaded again from kept bytes.
        self.from_disk = {name for name, found in fresh.items() if from_disk and self._is_of_disk(name, found)}
        self._pins = dict(pins or {})  # what is rolled back
        self._alone: set[str] = set()  # their new version is stop-first, and only needed
        self.may_overlap: set[str] = set()  # nobody waits any longer for the end of what served of these before
        self._loading: list[str] = []
        self._started: list[Generation] = []
        self._manifests: dict[str, Manifest] = {}
        self._checked: dict[str, tuple[Snapshot, Checked]] = {}  # before the guard was taken
        self._affected = dependents_of(fresh, parts.registry.uses())
        self._load: transaction.Transaction | None = None

    def _is_of_disk(self, name: str, found: Snapshot) -> bool:
        """Tell whether bytes lie on disk, or are pinned instead; a copy that stands in says nothing of either."""
        return found.home is None or self._parts.slot_of(name).pin is not None

    def stop_first(self) -> list[Generation]:
        """Return the serving generations that must end before the new ones begin, dependencies first."""
        old = [g for name in self._affected if (g := self._registry.serving.get(name)) is not None]
        manifests = [*(g.manifest for g in old), *self._manifests.values()]
        return old if any(manifest.handover == "stop-first" for manifest in manifests) else []

    def still_there(self, name: str) -> list[Generation]:
        """Return the generations that must end before a plugin that doesn't serve may begin again."""
        if name in self._registry.serving or name in self.may_overlap:
            return []
        manifest = self._manifests.get(name)
        new = name in self._alone or (manifest is not None and manifest.handover == "stop-first")
        old = {*self._parts.superseded, *self._parts.retirement.lingering(name)}
        return [g for g in old if g.name == name and (new or g.manifest.handover == "stop-first")]

    def belongs_to(self, parts: Parts) -> bool:
        """Tell whether it is a manager's own, told by what that works with."""
        return self._parts is parts

    def affects(self, plugin: str) -> bool:
        """Tell whether a plugin is loaded because something changed, not because others need it."""
        return plugin in self._affected

    def time_limit(self) -> float:
        """Return the seconds that the whole transaction may take: the longest of its plugins' own limits."""
        limits = [m.load_timeout for m in self._manifests.values() if m.load_timeout is not None]
        return max(limits, default=self._parts.settings.load_timeout)

    def can_do_without(self, fault: Fault) -> bool:
        """Tell whether the rest may well load while the plugin that is to blame serves on as it is."""
        plugin = fault.plugin
        replaceable = plugin in self.from_disk and plugin in self._registry.serving
        return replaceable and bool(self._wanted - {plugin}) and fault.slug not in _OF_THE_OLD

    def refused_by(self, fault: Fault) -> Iterator[tuple[str, Snapshot]]:
        """Return the new bytes that a fault is held against.

        Not those that may load without the one to blame, or were only needed, nor a kept version: what lies on
        disk is no part of it.
        """
        for name, found in self.fresh.items():
            goes_free = bool(self.left_out) or name in self._along or name not in self._wanted
            if name in self.from_disk and (name == fault.plugin or not goes_free):
                yield name, found

    def among(self, plugin: str) -> Surroundings:
        """Return what a plugin is tried with: what it needs, what needs it, and what came with it."""
        needed = {used for manifest in self._manifests.values() for used in manifest.depends_on}
        return self._parts.checker.surroundings(sorted({*needed, *self._affected, *self.fresh} - {plugin}))

    def prepare(self) -> None:
        """Read manifests, compile, import package prefixes: what can be done before the guard is taken."""
        for name in self._affected:
            self._bring_along(self._parts.slot_of(name))
        for name, found in self.fresh.items():
            slot = self._parts.slot_of(name)
            place = _place(slot, found)
            self._manifests[name] = manifest = manifest_of(place, found)
            if not manifest.enabled:
                raise PluginDisabled(name)
            slot.enabled = True
            for warning in manifest.warnings:
                LOG.warning("hotplug.manifest", extra={"plugin": name, "text": warning})
            slot.limits = limits_of(found, slot.limits)
            for limit in slot.limits.lines:
                LOG.info("hotplug.known_limit", extra={"plugin": name, "text": limit})
            self._checked[name] = (found, self._parts.loader.check(place, found, manifest))
            prepare_package(slot.found)

    def _bring_along(self, slot: Slot) -> None:
        """Take a dependent's new bytes in, unless they were refused for their own sake or switch it off."""
        serving = self._registry.serving.get(slot.name)
        if slot.name in self.fresh or slot.name in self._held or slot.paused is not None or serving is None:
            return
        seen, refusal = self._parts.checker.look_again(slot), slot.refusal
        if seen is None or self._parts.checker.is_served(slot, seen.digest):
            return
        if refusal is not None and refusal.digest == seen.digest and refusal.fault.own_bytes:
            return
        self.from_disk.add(slot.name)  # first: files that may not be read, or not run here, are its own fault
        self._along.add(slot.name)
        found = self._parts.checker.settled(slot)
        if _switched_off(slot, found):
            self.from_disk.discard(slot.name)
            self._along.discard(slot.name)
        else:
            self.fresh[slot.name] = found

    def save_states(self, generations: Iterable[Generation]) -> None:
        """Take the states of generations that are about to end before their successors begin."""
        for generation in generations:
            self.states[generation.name] = self._parts.loader.save_state(generation)

    def _state_of(self, name: str) -> State | None:
        """Return the predecessor's state, taken as late as possible: it serves until the swap."""
        old = self._registry.serving.get(name)
        if name in self.states or old is None:
            return self.states.get(name)
        return self._parts.loader.save_state(old)

    def _check_dependencies(self, found: Found, manifest: Manifest) -> None:
        where = found.path / (manifest.file or ".")
        owner = self._parts.owner()
        if owner is not None and not self._registry.slots.keys() >= set(manifest.depends_on):
            try:
                owner.discover()
            except UsageError as error:
                raise PluginFault(Fault(found.name, error.slug, str(error), where, own_bytes=False)) from None
        for used in manifest.depends_on:
            if used not in self._registry.slots:
                message = f"/depends_on: there is no plugin {used!r}{did_you_mean(used, self._registry.slots)}"
                line = manifest.lines.get("depends_on")
                remedy = "Add that plugin, or mend depends_on."
                raise PluginFault(
                    Fault(found.name, "unknown-dependency", message, where, line, remedy=remedy, own_bytes=False)
                )
        edges = {**self._registry.uses(), **{n: set(m.depends_on) for n, m in self._manifests.items()}}
        cycle = find_cycle(found.name, edges)
        if cycle:
            raise PluginFault(_cycle(found, cycle))

    def run(self, load: transaction.Transaction) -> None:
        """Load, start, hand over and swap; on any error nothing of it remains."""
        self._load = load
        self._leave_out_outdated()
        self._affected = dependents_of(self.fresh, self._registry.uses())
        try:
            for name in self._affected:
                self.ensure(name)
            for name in self.order:
                self.at = name
                self._parts.retirement.starts(self.candidates[name], load.overdue - transaction.GRACE)
                self._parts.loader.start(self.candidates[name])
                self._started.append(self.candidates[name])
            for name in self.order:
                self.at = name
                self._parts.loader.load_state(self.candidates[name], self._state_of(name))
            self._note_own_writing()
            load.commit(self._swap)
            for generation in self._started:
                self._parts.retirement.has_started(generation)
        except BaseException:
            self._discard()
            if load.is_open:  # one that was given up may go on writing
                self._note_own_writing()
            raise

    def _note_own_writing(self) -> None:
        for name, found in self.fresh.items():
            if name in self.from_disk and found.home is None:
                note_own_writing(self._parts.slot_of(name), found)

    def _leave_out_outdated(self) -> None:
        """Drop bytes that another reload brought in, or overtook, between our look and the guard."""
        for name, found in list(self.fresh.items()):
            serving = self._registry.serving.get(name)
            if serving is None or serving is self._before.get(name):
                continue
            served = name in self.from_disk and self._parts.checker.is_served(self._parts.slot_of(name), found.digest)
            if served or serving.digest == found.digest or serving.snapshot.look.at > found.look.at:
                self.from_disk.discard(name)
                if name == self._forced:
                    self.fresh[name] = serving.snapshot
                else:
                    del self.fresh[name]

    def ensure(self, name: str) -> Generation:
        """Return the generation of a plugin that this transaction's code must see, loading it first if need be."""
        if name in self.candidates:
            return self.candidates[name]
        if name not in self._affected and name in self._registry.serving:
            self._relied_on.add(name)
            return self._registry.serving[name]
        slot = self._parts.slot_of(name)
        if name in self._loading:
            raise PluginFault(_cycle(slot.found, (*self._loading[self._loading.index(name) :], name)))
        self._loading.append(name)
        outer, self.at = self.at, name
        namespaces: list[Namespace] = []
        try:
            return self._load_one(slot, namespaces.append)
        except BaseException:  # whoever asked for it may go on without it: nothing of it may stay behind
            for namespace in namespaces:
                self._drop(namespace)
            raise
        finally:
            self._loading.pop()
            self.at = outer

    def _drop(self, namespace: Namespace) -> None:
        """Undo what loading one plugin did, as far as it came."""
        assert self._load is not None, "candidates are loaded inside a transaction"
        self._load.candidates.pop(namespace.public, None)
        for full_name, module in list(namespace.modules.items()):
            self._load.unstage(full_name, module)
        problems = [*namespace.ledger.undo(), *end_threads(namespace.ledger, (), time.monotonic())]
        tell_problems(self._parts.events, namespace.plugin, namespace.canary.generation, problems)
        self._unbind(namespace)

    def _unbind(self, namespace: Namespace) -> None:
        for used in list(namespace.bound.values()):
            self._parts.leases.unbind(used)
        namespace.bound.clear()

    def _load_one(self, slot: Slot, made: Callable[[Namespace], None]) -> Generation:
        snapshot = self._snapshot(slot)
        place = _place(slot, snapshot)
        manifest = manifest_of(place, snapshot)
        if not manifest.enabled:
            message = "is needed, but disabled"
            raise PluginFault(Fault(slot.name, "disabled", message, slot.found.path, own_bytes=False))
        if manifest.handover == "stop-first":
            self._alone.add(slot.name)
        if self.still_there(slot.name):
            message = "handover is stop-first, and what served before has not ended"
            raise StillThere(Fault(slot.name, "calls-in-flight", message, slot.found.path, own_bytes=False))
        self._check_dependencies(place, manifest)
        earlier, checked = self._checked.get(slot.name, (None, None))
        if earlier is not snapshot or checked is None:
            checked = self._parts.loader.check(place, snapshot, manifest)
            prepare_package(slot.found)
        assert self._load is not None, "candidates are loaded inside a transaction"

        def before_code(namespace: Namespace) -> None:
            made(namespace)
            slot.canaries = [*slot.living(), weakref.ref(namespace.canary)]  # a refused version may leak as well
            for used in manifest.depends_on:
                namespace.neighbour(self._parts.slot_of(used).found.public)

        number = slot.number + 1
        generation = self._parts.loader.load(place, snapshot, manifest, number, self._load, before_code, checked)
        self.candidates[slot.name] = generation
        self.order.append(slot.name)
        return generation

    def _snapshot(self, slot: Slot) -> Snapshot:
        """Return what to load: new bytes if there are any, else what serves (a dependent that didn't change)."""
        if slot.name not in self.fresh:
            serving = self._registry.serving.get(slot.name)
            if serving is None:
                self._parts.checker.forget_reading(slot)
                self._needed.add(slot.name)
                self.from_disk.add(slot.name)
            self.fresh[slot.name] = self._parts.checker.settled(slot) if serving is None else serving.snapshot
            if not self._is_of_disk(slot.name, self.fresh[slot.name]):
                self.from_disk.discard(slot.name)
        return self.fresh[slot.name]

    def _swap(self) -> None:
        """Let the candidates serve: the one moment at which anything changes for anybody."""
        owner = self._parts.owner()
        assert owner is not None, "a manager outlives its own reload"
        replaced = [g for n in reversed(self.order) if (g := self._registry.serving.get(n)) is not None]
        for name in self.order:
            finder.publish(owner, self.candidates[name].namespace)
            # Before anybody can call it: a lazy import of a call that begins now is a load of its own.
            self.candidates[name].namespace.transaction = None
            for module in self.candidates[name].modules.values():
                make_ordinary(module)
        for name, pin in self._pins.items():  # first: a call that looks in this moment must find the pin
            self._parts.slot_of(name).pin = pin
        self._registry.swap(self.candidates)
        self._parts.superseded.extend(replaced)
        for name in self.order:
            self._serves(self._parts.slot_of(name), self.candidates[name])

    def _serves(self, slot: Slot, generation: Generation) -> None:
        slot.number = generation.number
        slot.reloads += generation.number > 1
        if generation.snapshot.home is None:
            slot.pin = slot.kept_out = None
        if slot.name in self.from_disk:  # else newer bytes on disk may still be refused, and stay so
            slot.refusal = None
            if generation.snapshot.home is None:
                slot.seen = Seen(generation.snapshot.look, generation.digest, generation.snapshot.look.racy)
        forget_sources(generation.namespace.place_of(file) for file in generation.namespace.source_files())
        self._parts.events.post(event_of("loaded", generation))
        LOG.info(
            "hotplug.reloaded" if generation.number > 1 else "hotplug.loaded",
            extra={"plugin": slot.name, "generation": generation.number, "digest": generation.digest},
        )

    def _discard(self) -> None:
        """Take down what was built: nothing of a refused version may live on."""
        timeout = self._parts.settings.retire_timeout
        self._along.update(set(self.order) - self._wanted)
        for name in reversed(self.order):
            generation = self.candidates[name]
            problems = self._parts.loader.unload(generation, started=generation in self._started, timeout=timeout)
            tell_problems(self._parts.events, name, generation.number, problems)
            self._unbind(generation.namespace)
            self._parts.retirement.has_started(generation)
        self.candidates.clear()
        self.order.clear()
        self._started.clear()
        for cleanup in getattr(typing, "_cleanups", ()):
            cleanup()


def event_of(kind: typing.Literal["loaded", "unloaded"], generation: Generation) -> Event:
    """Return the fact that a generation began or ceased to serve."""
    return Event(kind, generation.name, generation.number, generation.version, generation.digest)


def _switched_off(slot: Slot, found: Snapshot) -> bool:
    try:
        return not manifest_of(slot.found, found).enabled
    except PluginFault:
        return False  # the preparation says what is wrong with it


def _place(slot: Slot, snapshot: Snapshot) -> Found:
    """Return where a version's files lie: the plugin's directory, or a kept copy."""
    return slot.found if snapshot.home is None else replace(slot.found, path=snapshot.home)


def _cycle(found: Found, path: Iterable[str]) -> Fault:
    message = f"plugins depend on each other: {' -> '.join(path)}"
    return Fault(
        found.name,
        "dependency-cycle",
        message,
        found.path,
        remedy="Break the circle in depends_on or imports.",
        own_bytes=False,  # another plugin may open it as well
    )
