"""The one sequence: check -> settle -> load beside -> verify -> swap; and what each failure does.

A reload builds complete generations beside those that serve (the plugin, and everything that
depends on it), starts them, hands state over, and lets them serve with one assignment (`replacement`).
If any step fails the world is as before and the bad version is remembered. Nobody waits for running calls.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pytest_hotplug.reloader import finder, transaction, trial
from pytest_hotplug.reloader.asking import START, asking, begun_at
from pytest_hotplug.reloader.bindings import Bindings
from pytest_hotplug.reloader.build import Build, Parts
from pytest_hotplug.reloader.check import Checker
from pytest_hotplug.reloader.errors import PluginFault
from pytest_hotplug.reloader.events import Events
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.kept import Pin
from pytest_hotplug.reloader.last_good import LastGood
from pytest_hotplug.reloader.leases import Leases
from pytest_hotplug.reloader.loader import Loader
from pytest_hotplug.reloader.modules import Neighbours
from pytest_hotplug.reloader.outcomes import Outcome, Reloaded, Unloaded
from pytest_hotplug.reloader.pauses import lift
from pytest_hotplug.reloader.recording import Recorder
from pytest_hotplug.reloader.registry import Registry, Slot
from pytest_hotplug.reloader.replacement import OTHER_LOAD, Replacement
from pytest_hotplug.reloader.retirement import Retirement
from pytest_hotplug.reloader.rollback import KeptCopies, Rollback
from pytest_hotplug.reloader.settings import InUse, Settings
from pytest_hotplug.reloader.telling import Telling

__all__ = ["HotLoader"]


class HotLoader:
    """Checks plugins for changes and reloads them, for one manager.

    Users reach it as `get_hot_loader()`; it tells them of changes (`check_plugin_updates`) and of
    events (`register_callback`).
    """

    def __init__(
        self,
        in_use: InUse,
        registry: Registry,
        leases: Leases,
        events: Events,
        slot_of: Callable[[str], Slot],
        make_loader: Callable[[Neighbours], Loader],
        owner: finder.Owner,
        recorder: Recorder,
    ) -> None:
        self._in_use = in_use
        self.registry = registry
        self.events = events
        self.leases = leases
        self._slot_of = slot_of
        self._owner = weakref.ref(owner)
        self.loader = make_loader(Bindings(registry, leases, self._owner, self._load_for_import))
        self._retirement = Retirement(self.loader, leases, events, in_use, lambda g: registry.serving.get(g.name))
        self._superseded: deque[Generation] = deque()  # they no longer serve, and wait to be retired
        copies = KeptCopies(recorder)
        self.checker = Checker(in_use, registry, leases, copies.pinned, copies.last_good)
        self._parts = Parts(
            in_use,
            registry,
            leases,
            events,
            self.loader,
            self.checker,
            slot_of,
            self._owner,
            self._superseded,
            self._retirement,
        )
        self._telling = Telling(registry, events, slot_of)
        self.tell = self._telling.tell
        self._replacement = Replacement(self._parts, self._telling)
        self._rollback = Rollback(self._parts, recorder, copies, self._telling, self)
        self._last_good = LastGood(self._parts, recorder, copies, self)

    def after_fork(self) -> None:
        """Forget, in a child process, what the parent's other threads were loading."""
        self._replacement.after_fork()
        self._retirement.after_fork()

    @property
    def settings(self) -> Settings:
        """Return the settings that it goes by at this moment."""
        return self._in_use.now

    # -- what users call ------------------------------------------------------------------------

    def check_plugin_updates(self, name: str) -> bool:
        """Tell, by the MD5 of content, whether the files of a plugin differ from what serves (or was refused).

        Raises UnknownPlugin.
        """
        slot = self._slot_of(name)
        serving = self.registry.serving.get(name)
        seen = self.checker.look_again(slot)
        return serving is None or seen is None or not self.checker.is_served(slot, seen.digest)

    def register_callback(self, kind: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Call `callback(plugin_name)` at each event of `kind`; for "error" `callback(plugin_name, message)`.

        Kinds: loaded, kept, error, unloaded, retired. Returns what ends it.
        """
        return self.events.register_callback(kind, callback)

    # -- reload ---------------------------------------------------------------------------------

    def reload(self, name: str, *, force: bool = False, by_hand: bool = False) -> Outcome:
        """Bring a plugin up to what is on disk; see PluginManager.reload. Parallel requests share one load.

        `by_hand`: what was refused for how its files lie there is looked at again at once.
        """
        slot = self._slot_of(name)
        asked = time.monotonic()
        if transaction.current() is not None:
            return self._reload_inside(slot)
        try:
            with begun_at(asked), slot.turn:
                if by_hand:
                    self.checker.try_again(slot)
                return self._in_turn(slot, force, asked)
        finally:
            try:
                self._finish()
            finally:  # a signal may have cut the first short
                self._finish()

    def _load_for_import(self, name: str) -> Outcome:
        with asking(START):
            return self.reload(name)

    def reload_unless_busy(self, name: str) -> Outcome | None:
        """Reload like `reload`, or return None at once when another thread is at it."""
        slot = self._slot_of(name)
        asked = time.monotonic()
        if transaction.current() is not None or slot.turn.locked():
            return None
        try:
            # Who was faster by a hair is waited for: no try to take it is safe from signals.
            with begun_at(asked), slot.turn:
                return self._in_turn(slot, False, asked)
        finally:
            try:
                self._finish()
            finally:  # a signal may have cut the first short
                self._finish()

    def _reload_inside(self, slot: Slot) -> Outcome:
        """Answer a request that comes from inside a load: only what nobody serves yet may be loaded within it.

        No turn is taken: whoever holds it may wait for the load that we are in.
        """
        if self._build is not None or slot.name in self.registry.serving or trial.is_wanted(self._parts):
            return self._telling.kept(slot, "loading")  # the last: a child takes its time, and other loads wait for us
        outcome = self._reload(slot, False)
        self._finish()
        return outcome

    def _finish(self) -> None:
        """Tell what happened and retire what no longer serves, once no lock is held."""
        if self._build is not None and transaction.current() is not None:
            return  # asked from inside our own load, which does it at its end
        self.events.deliver()
        old = list(self._superseded)
        if old:
            self._retirement.supersede(old, wait=True)
            for generation in old:  # last: until then one that a signal cuts off is retired again
                with suppress(ValueError):  # another thread was faster
                    self._superseded.remove(generation)
            self.events.deliver()

    def _in_turn(self, slot: Slot, force: bool, asked: float) -> Outcome:
        if slot.last is not None and slot.last[0] > asked and slot.last[1] >= force:
            return slot.last[2]  # somebody began after we asked: that load saw everything that we want seen
        lift(self.registry)
        began = time.monotonic()
        outcome = self._reload(slot, force)
        slot.last = (began, force, outcome)
        return outcome

    def _reload(self, slot: Slot, force: bool, *, looks: bool = True) -> Outcome:
        slot.settling = True
        before = self.registry.serving
        try:
            fresh = self._settle_all(slot, force)
        except Unsettled as unsettled:
            return self._telling.kept(slot, "unsettled", str(unsettled))
        except PluginFault as fault:
            return self._last_good.instead(slot, self._telling.refused(slot, fault.fault))
        finally:
            slot.settling = False
        if not fresh:  # refused before: perhaps while another plugin needed it, and nobody wanted an older one
            return self._or_last_good(slot, self._telling.nothing_new(slot), before)
        relied_on: set[str] = set()
        forced = slot.name if force else ""
        outcome = self._replacement.what_loads(slot, fresh, before=before, forced=forced, relied_on=relied_on)
        if outcome.serving is None and looks and self._look_at(relied_on):
            slot.refusal = None  # it was tried with what is no longer, or should no longer be, the newest
            return self._reload(slot, force, looks=False)
        if outcome.serving is None and outcome.error is not None:
            broken = self._slot_of(outcome.error.plugin)
            if broken.kept_out is not None and broken.name not in self.registry.serving:
                broken.kept_out = broken.refusal = None  # its stand-in is no good: better what lies there than nothing
                return self._reload(slot, force)
        return self._or_last_good(slot, outcome, before)

    def _or_last_good(self, slot: Slot, outcome: Outcome, before: Mapping[str, Generation]) -> Outcome:
        """Fall back on a version from before where nothing serves; look at what a plugin uses that begins to serve."""
        outcome = self._last_good.instead(slot, outcome)
        if slot.name in before or outcome.serving is None or not self._checks():
            return outcome
        again = self._reload(slot, False)  # only now it is known what it uses, and whose new bytes it must come with
        return outcome if again.serving is not None and not isinstance(again, Reloaded) else again

    def _checks(self) -> bool:
        """Tell whether what serves is looked at when somebody needs it; inside a load others wait for us."""
        return self.registry.hot_reload and transaction.current() is None

    def _look_at(self, names: set[str]) -> bool:
        """Bring plugins that serve up to date; tell whether anything of them was new."""
        used = [slot for name in names if (slot := self._slot_of(name)).paused is None] if self._checks() else []
        new = [slot for slot in used if self.checker.changed(slot)]
        for slot in new:
            self._reload(slot, False)
        return bool(new)

    def _settle_all(self, slot: Slot, force: bool) -> dict[str, Snapshot]:
        """Return the settled snapshots of the plugin and its dependencies, as far as they need loading."""
        fresh: dict[str, Snapshot] = {}
        for name in self.registry.with_dependencies(slot.name):
            own = self._slot_of(name)
            if own.paused is not None and own is not slot:
                continue
            # A dependency that was refused because of this plugin gets another chance with its new bytes.
            again = bool(fresh) and own.refusal is not None and own.refusal.fault.plugin != name
            forced = again or (force and name == slot.name)
            self.checker.forget_reading(own)
            if not forced and not self.checker.changed(own):
                continue
            found = self.checker.settled(own, anew=forced)
            if forced or not self.checker.is_settled_matter(own, found.digest):
                fresh[name] = found
        return fresh

    @property
    def _build(self) -> Build | None:
        """Return what this manager is loading in the open transaction, or in one around it."""
        works = (load.work for load in transaction.open_loads())
        return next((work for work in works if isinstance(work, Build) and work.belongs_to(self._parts)), None)

    # -- versions from before -------------------------------------------------------------------

    def rollback(self, name: str, to: str | None = None) -> Outcome:
        """Serve a kept version again; see PluginManager.rollback."""
        slot = self._slot_of(name)
        if transaction.current() is not None:
            return self._telling.kept(slot, "loading")
        try:
            with begun_at(time.monotonic()), slot.turn:
                return self._rollback.roll_back(slot, to)
        finally:
            try:
                self._finish()
            finally:  # a signal may have cut the first short
                self._finish()

    def end_rollback(self, name: str) -> Outcome:
        """Serve again what is on disk; see PluginManager.end_rollback."""
        slot = self._slot_of(name)
        if transaction.current() is not None:
            return self._telling.kept(slot, "loading")
        try:
            with begun_at(time.monotonic()), slot.turn:
                return self._rollback.end(slot)
        finally:
            try:
                self._finish()
            finally:  # a signal may have cut the first short
                self._finish()

    def load_kept(self, slot: Slot, snapshot: Snapshot, pins: dict[str, Pin]) -> Outcome:
        """Let a kept version serve, with what depends on the plugin; `pins` make it stay."""
        before = self.registry.serving
        return self._replacement.what_loads(slot, {slot.name: snapshot}, before=before, from_disk=False, pins=pins)

    def load_from_disk(self, slot: Slot) -> Outcome:
        """Load what lies on disk, whether or not it changed."""
        return self._reload(slot, force=True)

    def load_with(self, slot: Slot, copies: Mapping[str, Snapshot], needed: set[str]) -> Outcome:
        """Load a plugin, from disk unless its copy is among them, with kept versions of others, all or none.

        Adds to `needed` what else it was tried with.
        """
        why = slot.refusal
        try:
            fresh = dict(copies) if slot.name in copies else {**copies, slot.name: self.checker.settled(slot)}
        except (PluginFault, Unsettled) as error:
            return self._telling.kept(slot, "unsettled", str(error))
        relied_on: set[str] = set()
        how: dict[str, Any] = {"needed": needed, "relied_on": relied_on}
        outcome = self._replacement.what_loads(slot, fresh, before=self.registry.serving, **how)
        if outcome.serving is None and self._look_at(relied_on):
            outcome = self._replacement.what_loads(slot, fresh, before=self.registry.serving, **how)
        if outcome.serving is None:
            needed |= relied_on
            slot.refusal = why  # what was wrong at first is what people must know
        return outcome

    # -- unload ---------------------------------------------------------------------------------

    def unload(self, name: str) -> Outcome:
        """Let a plugin and everything that depends on it serve no more; running calls end in peace."""
        slot = self._slot_of(name)
        try:
            gone = self._replacement.withdraw(name)
        except transaction.GuardTimeout:
            return self._telling.kept(slot, "loading", OTHER_LOAD)
        finally:
            try:
                self._finish()
            finally:
                self._finish()
        slot.seen = slot.refusal = None
        self._replacement.forget(gone)
        reason = "" if gone else "not-loaded"
        return Unloaded(name=name, reason=reason, also=tuple(g.name for g in gone if g.name != name))

    def close(self) -> None:
        """Unload everything and end the threads."""
        for name in list(self.registry.serving):
            if name in self.registry.serving:
                self.unload(name)
        self._replacement.stop()
        self._retirement.join(self.settings.retire_timeout)
