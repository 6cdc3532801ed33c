"""The one sequence: check -> settle -> load beside -> verify -> swap; and what each failure does.

A reload builds complete generations beside those that serve (the plugin, and everything that
depends on it), starts them, hands state over, and lets them serve with one assignment. If any step
fails the world is as before and the bad version is remembered. Nobody waits for running calls.
"""

from __future__ import annotations

import logging
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pytest_hotplug.reloader import finder, transaction
from pytest_hotplug.reloader.build import Build, Parts, event_of
from pytest_hotplug.reloader.check import Checker
from pytest_hotplug.reloader.dependencies import dependents_of
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginDisabled, PluginFault
from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.kept import Kept, Pin
from pytest_hotplug.reloader.leases import Leases, calling
from pytest_hotplug.reloader.loader import Loader, manifest_of
from pytest_hotplug.reloader.modules import Namespace
from pytest_hotplug.reloader.outcomes import KeptCurrent, Outcome, Reloaded, Unchanged, Unloaded
from pytest_hotplug.reloader.preflight import fault_of, try_snapshots
from pytest_hotplug.reloader.recording import Recorder
from pytest_hotplug.reloader.refusals import refuse
from pytest_hotplug.reloader.registry import Registry, Slot
from pytest_hotplug.reloader.reload_thread import ReloadThread
from pytest_hotplug.reloader.retirement import Retirement
from pytest_hotplug.reloader.settings import Settings

__all__ = ["HotLoader"]

LOG = logging.getLogger("hotplug")


class HotLoader:
    """Checks plugins for changes and reloads them, for one manager.

    Users reach it as `get_hot_loader()`; it tells them of changes (`check_plugin_updates`) and of
    events (`register_callback`).
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        leases: Leases,
        events: Events,
        slot_of: Callable[[str], Slot],
        make_loader: Callable[[HotLoader], Loader],
        owner: finder.Owner,
        recorder: Recorder,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.events = events
        self.leases = leases
        self.loader = make_loader(self)
        self._slot_of = slot_of
        self._owner = weakref.ref(owner)
        self._thread = ReloadThread()
        self._retirement = Retirement(
            self.loader, leases, events, settings.retire_timeout, lambda g: registry.serving.get(g.name)
        )
        self._superseded: deque[Generation] = deque()  # they no longer serve, and wait to be retired
        self._recorder = recorder
        self.checker = Checker(settings, registry, leases, self._pinned_copy)
        self._parts = Parts(
            settings, registry, leases, events, self.loader, self.checker, slot_of, self._owner, self._superseded
        )

    def after_fork(self) -> None:
        """Forget, in a child process, what the parent's other threads were loading."""
        self._thread.after_fork()
        self._retirement.after_fork()

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

    def reload(self, name: str, *, force: bool = False) -> Outcome:
        """Bring a plugin up to what is on disk; see PluginManager.reload. Parallel requests share one load."""
        slot = self._slot_of(name)
        asked = time.monotonic()
        if transaction.current() is not None:
            return self._reload_inside(slot)
        try:
            with slot.turn:
                return self._in_turn(slot, force, asked)
        finally:
            self._finish()

    def reload_unless_busy(self, name: str) -> Outcome | None:
        """Reload like `reload`, or return None at once when another thread is at it."""
        slot = self._slot_of(name)
        asked = time.monotonic()
        if transaction.current() is not None or not slot.turn.acquire(blocking=False):
            return None
        try:
            return self._in_turn(slot, False, asked)
        finally:
            slot.turn.release()
            self._finish()

    def _reload_inside(self, slot: Slot) -> Outcome:
        """Answer a request that comes from inside a load: only what nobody serves yet may be loaded within it.

        No turn is taken: whoever holds it may wait for the load that we are in.
        """
        if self._build is not None or slot.name in self.registry.serving or self._tries:
            return self._kept(slot, "loading")  # the last: a child takes its time, and other loads wait for us
        outcome = self._reload(slot, False)
        self._finish()
        return outcome

    def _finish(self) -> None:
        """Tell what happened and retire what no longer serves, once no lock is held."""
        if self._build is not None and transaction.current() is not None:
            return  # asked from inside our own load, which does it at its end
        self.events.deliver()
        old = []
        while self._superseded:
            old.append(self._superseded.popleft())
        if old:
            self._retirement.supersede(old, wait=True)
            self.events.deliver()

    def _in_turn(self, slot: Slot, force: bool, asked: float) -> Outcome:
        if slot.last is not None and slot.last[0] > asked and slot.last[1] >= force:
            return slot.last[2]  # somebody began after we asked: that load saw everything that we want seen
        began = time.monotonic()
        outcome = self._reload(slot, force)
        slot.last = (began, force, outcome)
        return outcome

    def _reload(self, slot: Slot, force: bool) -> Outcome:
        slot.settling = True
        before = self.registry.serving
        try:
            fresh = self._settle_all(slot, force)
        except Unsettled as unsettled:
            return self._kept(slot, "unsettled", str(unsettled))
        except PluginFault as fault:
            return self._refused(slot, fault.fault, None)
        finally:
            slot.settling = False
        if not fresh:
            return self._nothing_new(slot)
        outcome = self._replace_what_loads(slot, fresh, before=before, forced=slot.name if force else "")
        wants_help = outcome.serving is None and outcome.error is not None and outcome.error.slug != "disabled"
        return self._last_good(slot, outcome) if wants_help else outcome

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
            found = self.checker.settled(own)
            if forced or not self.checker.is_settled_matter(own, found.digest):
                fresh[name] = found
        return fresh

    def _nothing_new(self, slot: Slot) -> Outcome:
        if slot.refusal is not None:
            return self._kept(slot, _reason(slot, slot.refusal.fault), error=slot.refusal.fault)
        serving = self.registry.serving.get(slot.name)
        return Unchanged(name=slot.name, serving=serving.number if serving else None, reason="same-content")

    def _replace_what_loads(self, slot: Slot, fresh: dict[str, Snapshot], **how: Any) -> Outcome:
        """Load what is fresh; a plugin that is broken itself, or disabled, holds up nothing but itself."""
        own: Outcome | None = None
        held: frozenset[str] = frozenset()
        while True:
            build = Build(self._parts, fresh, held=held, **how)
            outcome = self._replace(slot, build)
            own = outcome if own is None and slot.name in build.left_out else own
            fresh = {name: found for name, found in fresh.items() if name not in build.left_out}
            held |= build.left_out
            if not build.left_out or not fresh:
                break
        if own is None or own.serving is None:
            return own or outcome
        serving = self.registry.serving.get(slot.name)  # the old bytes may have come along as a dependent's
        return replace(own, serving=serving.number if serving else None)

    def _replace(self, slot: Slot, build: Build) -> Outcome:
        """Load what is fresh and everything that depends on it in one transaction, all or none."""
        stopping: list[Generation] = []
        try:
            build.prepare()
            if self._tries:
                self._try(build)
            stopping = build.stop_first()
            if stopping:
                self._stop(slot, stopping, build)
        except PluginFault as fault:
            return self._refused(slot, fault.fault, build)
        except PluginDisabled as disabled:
            return self._disabled(slot, disabled.name, build)
        except Unsettled as unsettled:
            return self._kept(slot, "unsettled", str(unsettled))
        try:
            outcome = self._load(slot, build)
        finally:
            if stopping:
                self._start_again(stopping, build)
        serving = self.registry.serving.get(slot.name)
        return replace(outcome, serving=serving.number if serving else None)

    @property
    def _tries(self) -> bool:
        """Tell whether a child process loads versions first; a sandbox's see what a test patched in this one."""
        return self.settings.preflight == "child" and self.loader.code_path is None

    def _try(self, build: Build) -> None:
        """Load in a child process first what the build will load; raises PluginFault and Unsettled.

        The child gets the bytes: those that are new, and of what else takes part those that serve.
        """
        serving = self.registry.serving
        affected = dependents_of(build.fresh, self.registry.uses())
        if not build.from_disk and not self._lacks_something(build):
            return  # it served before
        names = {used for name in affected for used in self.registry.with_dependencies(name)} | set(affected)
        bytes_of = {n: g.snapshot for n in names if (g := serving.get(n)) is not None} | build.fresh
        places = {name: (self._slot_of(name).found, found) for name, found in bytes_of.items()}
        layouts = {slot.found.layout.path: slot.found.layout for slot in list(self.registry.slots.values())}
        tried = try_snapshots(affected, places, self.settings, [*layouts.values()], build.time_limit())
        self.checker.tried = {**(self.checker.tried or {}), **tried.digests}
        if tried.slug == "not-loaded":
            raise Unsettled(str(tried.fault))
        if (fault := fault_of(tried, self._slot_of(affected[-1]).found)) is not None:
            raise fault

    def _lacks_something(self, build: Build) -> bool:
        """Tell whether older bytes need a plugin that doesn't serve: it will be loaded from disk."""
        manifests = (manifest_of(self._slot_of(name).found, found) for name, found in build.fresh.items())
        return any(used not in self.registry.serving for m in manifests for used in m.depends_on)

    def _load(self, slot: Slot, build: Build) -> Outcome:
        try:
            self._run(build)
        except PluginFault as fault:
            return self._refused(slot, fault.fault, build)
        except Unsettled as unsettled:
            return self._kept(slot, "unsettled", str(unsettled))
        except transaction.GuardTimeout:
            return self._kept(slot, "loading", "another plugin's load did not end in time")
        except TimeoutError:
            return self._refused(slot, self._hung(slot, build), build)
        also = tuple(name for name in build.order if name != slot.name)
        return Reloaded(name=slot.name, also=also)

    def _run(self, build: Build) -> None:
        """Run a build on the reload thread, inside a transaction of its own."""
        limit = build.time_limit()
        with transaction.open_transaction(self.settings.load_timeout, limit) as load:
            load.work = build
            self._thread.run(lambda: build.run(load), limit)

    @property
    def _build(self) -> Build | None:
        """Return what this manager is loading in the open transaction, or in one around it."""
        works = (load.work for load in transaction.open_loads())
        return next((work for work in works if isinstance(work, Build) and work.belongs_to(self._parts)), None)

    def _hung(self, slot: Slot, build: Build) -> Fault:
        name = build.at or slot.name
        message = f"the load did not end within {build.time_limit():g} s; its thread can't be killed and is left behind"
        remedy = "Keep long work out of import and on_load, or raise load_timeout."
        return Fault(name, "load-timeout", message, self._slot_of(name).found.path, remedy=remedy, own_bytes=False)

    # -- versions from before -------------------------------------------------------------------

    def rollback(self, name: str, to: str | None = None) -> Outcome:
        """Serve a kept version again; see PluginManager.rollback."""
        slot = self._slot_of(name)
        if transaction.current() is not None:
            return self._kept(slot, "loading")
        try:
            with slot.turn:
                return self._roll_back(slot, to)
        finally:
            self._finish()

    def end_rollback(self, name: str) -> Outcome:
        """Serve again what is on disk; see PluginManager.end_rollback."""
        slot = self._slot_of(name)
        if transaction.current() is not None:
            return self._kept(slot, "loading")
        try:
            with slot.turn:
                return self._unpin(slot)
        finally:
            self._finish()

    def _roll_back(self, slot: Slot, to: str | None) -> Outcome:
        notes = self._recorder.notes(slot.name)
        serving = self.registry.serving.get(slot.name)
        kept = notes.before(serving.digest if serving else None) if to is None else notes.find(to)
        if kept is None:
            return self._kept(slot, "nothing-kept", f"{slot.name}: no older version is kept")
        if serving is not None and serving.digest == kept.digest:
            return Unchanged(name=slot.name, serving=serving.number, reason="serves-already")
        seen = self.checker.look_again(slot)
        if seen is not None and seen.digest == kept.digest:
            return self._from_disk_again(slot)  # it lies there: nothing to pin
        try:
            snapshot = self._recorder.read(slot.name, kept)
        except PluginFault as fault:
            return self._refused(slot, fault.fault, None)
        pins = {slot.name: Pin(kept.digest, seen.digest if seen is not None else "")}
        before = self.registry.serving
        return self._replace_what_loads(slot, {slot.name: snapshot}, before=before, from_disk=False, pins=pins)

    def _unpin(self, slot: Slot) -> Outcome:
        return self._nothing_new(slot) if slot.pin is None else self._from_disk_again(slot)

    def _from_disk_again(self, slot: Slot) -> Outcome:
        slot.pin = None
        outcome = self._reload(slot, force=True)
        self._recorder.forget_pin(slot)
        return outcome

    def _pinned_copy(self, slot: Slot) -> Snapshot | None:
        """Return the version that a rollback before the last restart pinned, None (and say so) when it is lost."""
        assert slot.pin is not None, "only a pinned plugin has a pinned copy"
        pinned = slot.pin.digest
        kept = next((v for v in self._recorder.notes(slot.name).versions if v.digest == pinned), None)
        found = self._copy_of(slot, kept) if kept is not None else None
        if found is None:
            text = f"{slot.name}: the version {pinned[:12]} that was rolled back to is no longer kept"
            LOG.error("hotplug.pin_lost", extra={"plugin": slot.name, "text": text})
            slot.pin = None
        return found

    def _last_good(self, slot: Slot, outcome: Outcome) -> Outcome:
        """Serve the last good version from before a restart where the one on disk is broken and nothing serves."""
        assert outcome.error is not None, "only a refusal needs a way out"
        broken = self._slot_of(outcome.error.plugin)
        kept = self._recorder.last_good(broken.name)
        refused = broken.refusal.digest if broken.refusal else ""
        if broken.name in self.registry.serving or kept is None or kept.digest == refused:
            return outcome
        snapshot = self._copy_of(broken, kept)
        if snapshot is None:
            return outcome
        before = self.registry.serving
        again = self._replace(broken, Build(self._parts, {broken.name: snapshot}, before=before, from_disk=False))
        return replace(outcome, serving=again.serving) if broken is slot else self._reload(slot, force=True)

    def _copy_of(self, slot: Slot, kept: Kept) -> Snapshot | None:
        try:
            return self._recorder.read(slot.name, kept)
        except PluginFault as fault:
            LOG.error("hotplug.kept_version_damaged", extra={"plugin": slot.name, "text": str(fault)})
            return None

    # -- what a failure leaves behind -----------------------------------------------------------

    def _refused(self, slot: Slot, fault: Fault, build: Build | None) -> Outcome:
        """Remember the bad version, say so, and let the old one serve on."""
        asked = slot
        if build is not None:
            if build.can_do_without(fault):
                build.left_out = frozenset({fault.plugin})
                slot = self._slot_of(fault.plugin)
            for name, found in build.refused_by(fault):
                own = self._slot_of(name)
                serving = self.registry.serving.get(name)
                if serving is None or serving.digest != found.digest:
                    on_disk = own.pin.disk if found.home is not None and own.pin is not None else found.digest
                    through = fault.plugin != name and not build.affects(fault.plugin)
                    own.refusal = refuse(fault, on_disk, found.look, own.refusal, through_dependency=through)
        serving = self.registry.serving.get(slot.name)
        text = fault.render(_headline(fault, slot, serving))
        LOG.error("hotplug.kept", extra={"plugin": slot.name, "slug": fault.slug, "text": text})
        number = serving.number if serving else None
        if number is not None:
            self.events.post(Event("kept", slot.name, number, message=str(fault), error=fault))
        self.events.post(Event("error", slot.name, number, message=text, error=fault))
        return self._kept(asked, _reason(asked, fault), error=fault)

    def tell(self, slot: Slot, fault: Fault) -> None:
        """Say something about a plugin as an error event, outside of any reload."""
        serving = self.registry.serving.get(slot.name)
        text = fault.render(f"{slot.name}: something is wrong.")
        LOG.error("hotplug.error", extra={"plugin": slot.name, "slug": fault.slug, "text": text})
        number = serving.number if serving is not None else None
        self.events.post(Event("error", slot.name, number, message=text, error=fault))
        self.events.deliver()

    def _kept(self, slot: Slot, reason: str, message: str = "", error: Fault | None = None) -> Outcome:
        serving = self.registry.serving.get(slot.name)
        if message:
            LOG.warning("hotplug.kept", extra={"plugin": slot.name, "reason": reason, "text": message})
        return KeptCurrent(name=slot.name, serving=serving.number if serving else None, reason=reason, error=error)

    def _disabled(self, slot: Slot, name: str, build: Build) -> Outcome:
        """Take a plugin down whose manifest says so, and with it everything that depends on it."""
        self._slot_of(name).enabled = False
        gone = self._withdraw(name)
        build.left_out = frozenset({name, *(g.name for g in gone)})
        reason = "disabled" if name == slot.name else f"{name} is disabled"
        return Unloaded(name=slot.name, reason=reason, also=tuple(g.name for g in gone if g.name != slot.name))

    # -- unload ---------------------------------------------------------------------------------

    def unload(self, name: str) -> Unloaded:
        """Let a plugin and everything that depends on it serve no more; running calls end in peace."""
        slot = self._slot_of(name)
        gone = self._withdraw(name)
        self._finish()
        slot.seen = slot.refusal = None
        reason = "" if gone else "not-loaded"
        return Unloaded(name=name, reason=reason, also=tuple(g.name for g in gone if g.name != name))

    def _withdraw(self, *names: str) -> list[Generation]:
        """Let plugins, and what depends on them, serve no more; return their generations, users first."""
        with transaction.exclusive(self.settings.load_timeout + transaction.GRACE):
            order = dependents_of(names, self.registry.uses())
            gone = [g for n in reversed(order) if (g := self.registry.serving.get(n)) is not None]
            self.registry.swap(dict.fromkeys((g.name for g in gone), None))
            for generation in gone:
                if (owner := self._owner()) is not None:
                    finder.withdraw(owner, generation.namespace.public)
                self.events.post(event_of("unloaded", generation))
                LOG.info("hotplug.unloaded", extra={"plugin": generation.name, "generation": generation.number})
            self._superseded.extend(gone)
        return gone

    def close(self) -> None:
        """Unload everything and end the threads."""
        for name in list(self.registry.serving):
            if name in self.registry.serving:
                self.unload(name)
        self._thread.stop()
        self._retirement.join(self.settings.retire_timeout)

    # -- handover: stop-first -------------------------------------------------------------------

    def _stop(self, slot: Slot, stopping: list[Generation], build: Build) -> None:
        """Let new calls wait and running ones end, save states, then take the old generations down.

        Raises PluginFault when calls don't end in time, or a state can't be saved.
        """
        names = [generation.name for generation in stopping]
        limits = [g.manifest.retire_timeout for g in stopping]
        timeout = min(self.settings.retire_timeout if limit is None else limit for limit in limits)
        if set(names) & set(calling()):  # the call that asks is itself in flight: waiting for it would never end
            raise PluginFault(_in_flight(slot.found, "a call of the plugin asked for this reload itself"))
        if not self.leases.gate(names, timeout):
            raise PluginFault(_in_flight(slot.found, f"running calls did not end within {timeout:g} s"))
        try:
            build.save_states(stopping)
            for generation in reversed(stopping):
                self._retirement.take_down(generation)
        except BaseException:
            self.leases.open(names)
            raise

    def _start_again(self, stopping: list[Generation], build: Build) -> None:
        """Open the gate; when the new version failed, the old bytes are loaded again first."""
        try:
            failed = [g for g in stopping if self.registry.serving.get(g.name) is g]
            if failed:
                self._run(
                    Build(self._parts, {g.name: g.snapshot for g in failed}, states=build.states, from_disk=False)
                )
        except (PluginFault, TimeoutError, transaction.GuardTimeout) as error:
            LOG.critical("hotplug.restart_failed", extra={"plugins": [g.name for g in stopping], "text": str(error)})
            self._withdraw(*(g.name for g in stopping))
        finally:
            self.leases.open([generation.name for generation in stopping])

    # -- the view of other plugins that a generation's code has ---------------------------------

    def namespace_of(self, module: str, asking: Namespace) -> Namespace | None:
        """Return the namespace of another plugin's module as `asking` is bound to it; binds at first use."""
        name = self.registry.plugin_of(module) or self._new_plugin_of(module, asking)
        if name is None or name == asking.plugin:
            return None
        bound = asking.bound.get(name)
        return (bound if bound is not None else self._bind(asking, name)).namespace

    def _new_plugin_of(self, module: str, asking: Namespace) -> str | None:
        """Look on disk for a plugin that came after the last look, when a name beside `asking` is imported."""
        prefix = asking.public.rpartition(".")[0]
        owner = self._owner()
        if not prefix or owner is None or not module.startswith(prefix + ".") or module in sys.modules:
            return None
        owner.discover()
        return self.registry.plugin_of(module)

    def _bind(self, asking: Namespace, name: str) -> Generation:
        load = asking.transaction
        build = load.work if load is not None and load.is_open and isinstance(load.work, Build) else None
        generation = build.ensure(name) if build is not None else self._serving_or_loaded(name)
        with self.registry.lock:
            if name not in asking.bound:
                asking.bound[name] = generation
                self.leases.bind(generation)
                self.registry.rebound()
            bound: Generation = asking.bound[name]
        return bound

    def _serving_or_loaded(self, name: str) -> Generation:
        serving = self.registry.serving.get(name)
        if serving is not None:
            return serving
        outcome = self.reload(name)
        serving = self.registry.serving.get(name)
        if serving is None:
            why = outcome.error or outcome.reason
            raise ImportError(f"plugin {name!r} could not be loaded: {why}", name=name)
        return serving


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


def _in_flight(found: Found, why: str) -> Fault:
    message = f"handover is stop-first, and {why}"
    remedy = "It is tried again once they end; raise retire_timeout if they need longer."
    return Fault(found.name, "calls-in-flight", message, found.path, remedy=remedy, own_bytes=False)
