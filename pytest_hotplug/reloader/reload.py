"""The one sequence: check -> settle -> load beside -> verify -> swap; and what each failure does.

A reload builds complete generations beside those that serve (the plugin, and everything that
depends on it), starts them, hands state over, and lets them serve with one assignment. If any step
fails the world is as before and the bad version is remembered. Nobody waits for running calls.
"""

from __future__ import annotations

import logging
import sys
import time
import typing
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from pytest_hotplug.reloader import finder, transaction
from pytest_hotplug.reloader.dependencies import dependents_of, find_cycle
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginDisabled, PluginFault, did_you_mean, forget_sources
from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled, look_at, settle, snapshot, unchanged
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.leases import Leases, calling
from pytest_hotplug.reloader.loader import Loader, State, manifest_of, prepare_package
from pytest_hotplug.reloader.manifest import Manifest
from pytest_hotplug.reloader.modules import Namespace
from pytest_hotplug.reloader.outcomes import KeptCurrent, Outcome, Reloaded, Unchanged, Unloaded
from pytest_hotplug.reloader.refusals import refuse
from pytest_hotplug.reloader.registry import Registry, Seen, Slot
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
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.events = events
        self.leases = leases
        self.loader = make_loader(self)
        self._slot_of = slot_of
        self._owner = weakref.ref(owner)
        self._thread = ReloadThread()
        self._retirement = Retirement(self.loader, leases, events, settings.retire_timeout)
        self._build: _Build | None = None  # of the open transaction, when it is ours
        self._superseded: deque[Generation] = deque()  # they no longer serve, and wait to be retired

    def after_fork(self) -> None:
        """Forget, in a child process, what the parent's other threads were loading."""
        if transaction.current() is None:
            self._build = None
        self._thread.after_fork()
        self._retirement.after_fork()

    # -- what users call ------------------------------------------------------------------------

    def check_plugin_updates(self, name: str) -> bool:
        """Tell, by the MD5 of content, whether the files of a plugin differ from what serves (or was refused).

        Raises UnknownPlugin.
        """
        slot = self._slot_of(name)
        serving = self.registry.serving.get(name)
        seen = self.look_again(slot)
        return serving is None or seen is None or seen.digest != serving.digest

    def register_callback(self, kind: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Call `callback(plugin_name)` at each event of `kind`; for "error" `callback(plugin_name, message)`.

        Kinds: loaded, kept, error, unloaded, retired. Returns what ends it.
        """
        return self.events.register_callback(kind, callback)

    # -- check ----------------------------------------------------------------------------------

    def quiet(self, slot: Slot) -> bool:
        """Tell cheaply whether nothing needs doing: the files are as they were when their bytes were last read.

        Those bytes serve, or were refused and are not due for another try.
        """
        seen = slot.seen
        if seen is None or seen.racy:
            return False
        try:
            return self._same(slot, seen) and self._settled_matter(slot, seen.digest)
        except OSError:
            return self._still_refused(slot, "")

    def changed(self, slot: Slot) -> bool:
        """Tell whether a reload has something to do, by content."""
        if self.quiet(slot):
            return False
        seen = self.look_again(slot)
        if seen is None:
            return not self._still_refused(slot, "")
        return not self._settled_matter(slot, seen.digest)

    def look_again(self, slot: Slot) -> Seen | None:
        """Read the bytes if the signature says so; None when they can't be read or are in motion."""
        seen = slot.seen
        try:
            if seen is not None and not seen.racy and self._same(slot, seen):
                self._serves(slot, seen.digest)
                return seen
            found = snapshot(slot.found.path, plugin=slot.name, ignore=slot.ignore)
            if self._ignores_otherwise(slot, found):
                found = snapshot(slot.found.path, plugin=slot.name, ignore=slot.ignore)
            return self._saw(slot, found)
        except (OSError, PluginFault, Unsettled):
            return None  # a reload will find out the same, and say it

    def _settled_matter(self, slot: Slot, digest: str) -> bool:
        return self._serves(slot, digest) or self._still_refused(slot, digest)

    def _serves(self, slot: Slot, digest: str) -> bool:
        """Tell whether these bytes serve; if so, whatever was refused meanwhile is gone."""
        serving = self.registry.serving.get(slot.name)
        if serving is None or serving.digest != digest:
            return False
        if slot.refusal is not None:
            slot.refusal = None
        return True

    def _still_refused(self, slot: Slot, digest: str) -> bool:
        refusal = slot.refusal
        if refusal is None or not refusal.holds(digest):
            return False
        return refusal.fault.slug != "calls-in-flight" or self.leases.calls_of(slot.name) > 0

    def _saw(self, slot: Slot, found: Snapshot) -> Seen:
        slot.seen = seen = Seen(found.look, found.digest, found.look.racy)
        self._serves(slot, found.digest)
        return seen

    @staticmethod
    def _same(slot: Slot, seen: Seen) -> bool:
        """Tell whether the files are as they were seen; raises OSError."""
        if unchanged(seen.look):
            return True
        look = look_at(slot.found.path, slot.ignore)
        same = look.same_as(seen.look)
        if same and look.places:  # only now old enough for the quick look
            slot.seen = replace(seen, look=look)
        return same

    @staticmethod
    def _ignores_otherwise(slot: Slot, found: Snapshot) -> bool:
        """Take over the `watch_ignore` of a snapshot's own manifest; True when it differs from the one in use."""
        try:
            ignore = manifest_of(slot.found, found).watch_ignore
        except PluginFault:
            return False  # the load says what is wrong with it
        before, slot.ignore = slot.ignore, ignore
        return list(before) != ignore

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
        if self._build is not None or slot.name in self.registry.serving:
            return self._kept(slot, "loading")
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
        return self._replace(slot, _Build(self, fresh, before=before, forced=slot.name if force else ""))

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
            if not forced and not self.changed(own):
                continue
            found = self._settled(own)
            if forced or not self._settled_matter(own, found.digest):
                fresh[name] = found
        return fresh

    def _settled(self, slot: Slot) -> Snapshot:
        try:
            found = self._settle(slot, self.settings.debounce)
            if self._ignores_otherwise(slot, found):
                found = self._settle(slot, 0)
        except PluginFault as fault:
            slot.refusal = refuse(fault.fault, "", None, slot.refusal)
            raise
        self._saw(slot, found)
        return found

    def _settle(self, slot: Slot, debounce: float) -> Snapshot:
        limit = self.settings.settle_max
        return settle(slot.found.path, plugin=slot.name, ignore=slot.ignore, debounce=debounce, settle_max=limit)

    def _nothing_new(self, slot: Slot) -> Outcome:
        if slot.refusal is not None:
            return self._kept(slot, _reason(slot, slot.refusal.fault), error=slot.refusal.fault)
        serving = self.registry.serving.get(slot.name)
        return Unchanged(name=slot.name, serving=serving.number if serving else None, reason="same-content")

    def _replace(self, slot: Slot, build: _Build) -> Outcome:
        """Load what is fresh and everything that depends on it in one transaction, all or none."""
        stopping: list[Generation] = []
        try:
            build.prepare()
            stopping = build.stop_first()
            if stopping:
                self._stop(slot, stopping, build)
        except PluginFault as fault:
            return self._refused(slot, fault.fault, build)
        except PluginDisabled as disabled:
            return self._disabled(slot, disabled.name)
        try:
            outcome = self._load(slot, build)
        finally:
            if stopping:
                self._start_again(stopping, build)
        serving = self.registry.serving.get(slot.name)
        return replace(outcome, serving=serving.number if serving else None)

    def _load(self, slot: Slot, build: _Build) -> Outcome:
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

    def _run(self, build: _Build) -> None:
        """Run a build on the reload thread, inside a transaction of its own."""
        limit = build.time_limit()
        with transaction.open_transaction(self.settings.load_timeout, limit) as load:
            self._build = build
            try:
                self._thread.run(lambda: build.run(load), limit)
            finally:
                self._build = None

    def _hung(self, slot: Slot, build: _Build) -> Fault:
        name = build.at or slot.name
        message = f"the load did not end within {build.time_limit():g} s; its thread can't be killed and is left behind"
        remedy = "Keep long work out of import and on_load, or raise load_timeout."
        return Fault(name, "load-timeout", message, self._slot_of(name).found.path, remedy=remedy, own_bytes=False)

    # -- what a failure leaves behind -----------------------------------------------------------

    def _refused(self, slot: Slot, fault: Fault, build: _Build | None) -> Outcome:
        """Remember the bad version, say so, and let the old one serve on."""
        if build is not None:
            for name, found in build.fresh.items():
                own = self._slot_of(name)
                serving = self.registry.serving.get(name)
                if serving is None or serving.digest != found.digest:
                    own.refusal = refuse(fault, found.digest, found.look, own.refusal)
        serving = self.registry.serving.get(slot.name)
        text = fault.render(_headline(fault, slot, serving))
        LOG.error("hotplug.kept", extra={"plugin": slot.name, "slug": fault.slug, "text": text})
        number = serving.number if serving else None
        if number is not None:
            self.events.post(Event("kept", slot.name, number, message=str(fault), error=fault))
        self.events.post(Event("error", slot.name, number, message=text, error=fault))
        return self._kept(slot, _reason(slot, fault), error=fault)

    def _kept(self, slot: Slot, reason: str, message: str = "", error: Fault | None = None) -> Outcome:
        serving = self.registry.serving.get(slot.name)
        if message:
            LOG.warning("hotplug.kept", extra={"plugin": slot.name, "reason": reason, "text": message})
        return KeptCurrent(name=slot.name, serving=serving.number if serving else None, reason=reason, error=error)

    def _disabled(self, slot: Slot, name: str) -> Outcome:
        """Take a plugin down whose manifest says so, and with it everything that depends on it."""
        self._slot_of(name).enabled = False
        gone = self._withdraw(name)
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
                self.events.post(_event("unloaded", generation))
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

    def _stop(self, slot: Slot, stopping: list[Generation], build: _Build) -> None:
        """Let new calls wait and running ones end, save states, then take the old generations down.

        Raises PluginFault when calls don't end in time, or a state can't be saved.
        """
        names = [generation.name for generation in stopping]
        limits = [g.manifest.retire_timeout for g in stopping]
        timeout = min(self.settings.retire_timeout if limit is None else limit for limit in limits)
        # The call that asks is itself in flight: there is nothing to wait for.
        if set(names) & set(calling()) or not self.leases.gate(names, timeout):
            raise PluginFault(_in_flight(slot.found, timeout))
        try:
            build.save_states(stopping)
            for generation in reversed(stopping):
                self._retirement.take_down(generation)
        except BaseException:
            self.leases.open(names)
            raise

    def _start_again(self, stopping: list[Generation], build: _Build) -> None:
        """Open the gate; when the new version failed, the old bytes are loaded again first."""
        try:
            failed = [g for g in stopping if self.registry.serving.get(g.name) is g]
            if failed:
                self._run(_Build(self, {g.name: g.snapshot for g in failed}, states=build.states, from_disk=False))
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
        build = self._build if asking.transaction is not None and asking.transaction.is_open else None
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


class _Build:
    """One transaction's candidates, from the first executed line to the swap or the end of them."""

    def __init__(
        self,
        hot: HotLoader,
        fresh: dict[str, Snapshot],
        *,
        before: Mapping[str, Generation] | None = None,
        forced: str = "",
        states: Mapping[str, State | None] | None = None,
        from_disk: bool = True,
    ) -> None:
        self._hot = hot
        self._registry = hot.registry
        self.fresh = fresh
        self.order: list[str] = []
        self.candidates: dict[str, Generation] = {}
        self.at = ""  # the plugin whose code runs right now
        self.states: dict[str, State | None] = dict(states or {})
        self._before = hot.registry.serving if before is None else before  # what served when we looked
        self._forced = forced
        self._from_disk = set(fresh) if from_disk else set()  # the others are loaded again from kept bytes
        self._loading: list[str] = []
        self._started: list[Generation] = []
        self._manifests: dict[str, Manifest] = {}
        self._affected = dependents_of(fresh, hot.registry.uses())
        self._load: transaction.Transaction | None = None

    def stop_first(self) -> list[Generation]:
        """Return the serving generations that must end before the new ones begin, dependencies first."""
        old = [g for name in self._affected if (g := self._registry.serving.get(name)) is not None]
        manifests = [*(g.manifest for g in old), *self._manifests.values()]
        return old if any(manifest.handover == "stop-first" for manifest in manifests) else []

    def time_limit(self) -> float:
        """Return the seconds that the whole transaction may take: the longest of its plugins' own limits."""
        limits = [m.load_timeout for m in self._manifests.values() if m.load_timeout is not None]
        return max(limits, default=self._hot.settings.load_timeout)

    def prepare(self) -> None:
        """Read manifests, compile, import package prefixes: what can be done before the guard is taken."""
        for name, found in self.fresh.items():
            slot = self._hot._slot_of(name)
            self._manifests[name] = manifest = manifest_of(slot.found, found)
            if not manifest.enabled:
                raise PluginDisabled(name)
            slot.enabled = True
            for warning in manifest.warnings:
                LOG.warning("hotplug.manifest", extra={"plugin": name, "text": warning})
            self._hot.loader.check(slot.found, found, manifest)
            prepare_package(slot.found)

    def save_states(self, generations: Iterable[Generation]) -> None:
        """Take the states of generations that are about to end before their successors begin."""
        self.states = {g.name: self._hot.loader.save_state(g) for g in generations}

    def _state_of(self, name: str) -> State | None:
        """Return the predecessor's state, taken as late as possible: it serves until the swap."""
        old = self._registry.serving.get(name)
        if name in self.states or old is None:
            return self.states.get(name)
        return self._hot.loader.save_state(old)

    def _check_dependencies(self, found: Found, manifest: Manifest) -> None:
        where = found.path / (manifest.file or ".")
        owner = self._hot._owner()
        if owner is not None and not self._registry.slots.keys() >= set(manifest.depends_on):
            owner.discover()
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
                self._hot.loader.start(self.candidates[name])
                self._started.append(self.candidates[name])
            for name in self.order:
                self.at = name
                self._hot.loader.load_state(self.candidates[name], self._state_of(name))
            load.commit(self._swap)
        except BaseException:
            self._discard()
            raise

    def _leave_out_outdated(self) -> None:
        """Drop bytes that another reload brought in, or overtook, between our look and the guard."""
        for name, found in list(self.fresh.items()):
            serving = self._registry.serving.get(name)
            if serving is None or serving is self._before.get(name):
                continue
            if serving.digest == found.digest or serving.snapshot.look.at > found.look.at:
                self._from_disk.discard(name)
                if name == self._forced:
                    self.fresh[name] = serving.snapshot
                else:
                    del self.fresh[name]

    def ensure(self, name: str) -> Generation:
        """Return the generation of a plugin that this transaction's code must see, loading it first if need be."""
        if name in self.candidates:
            return self.candidates[name]
        if name not in self._affected and name in self._registry.serving:
            return self._registry.serving[name]
        slot = self._hot._slot_of(name)
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
        self._unbind(namespace)

    def _unbind(self, namespace: Namespace) -> None:
        for used in list(namespace.bound.values()):
            self._hot.leases.unbind(used)
        namespace.bound.clear()

    def _load_one(self, slot: Slot, made: Callable[[Namespace], None]) -> Generation:
        snapshot = self._snapshot(slot)
        manifest = self._manifests.get(slot.name) or manifest_of(slot.found, snapshot)
        if not manifest.enabled:
            message = "is needed, but disabled"
            raise PluginFault(Fault(slot.name, "disabled", message, slot.found.path, own_bytes=False))
        self._check_dependencies(slot.found, manifest)
        prepare_package(slot.found)
        assert self._load is not None, "candidates are loaded inside a transaction"

        def before_code(namespace: Namespace) -> None:
            made(namespace)
            for used in manifest.depends_on:
                self._hot.namespace_of(self._hot._slot_of(used).found.public, namespace)

        generation = self._hot.loader.load(slot.found, snapshot, manifest, slot.number + 1, self._load, before_code)
        slot.canaries.append(weakref.ref(generation.namespace.canary))
        self.candidates[slot.name] = generation
        self.order.append(slot.name)
        return generation

    def _snapshot(self, slot: Slot) -> Snapshot:
        """Return what to load: new bytes if there are any, else what serves (a dependent that didn't change)."""
        if slot.name not in self.fresh:
            serving = self._registry.serving.get(slot.name)
            from_disk = serving is None or self._deserves_a_try(slot, serving)
            if from_disk:
                self._from_disk.add(slot.name)
            self.fresh[slot.name] = self._hot._settled(slot) if from_disk else serving.snapshot  # type: ignore[union-attr]
        return self.fresh[slot.name]

    def _deserves_a_try(self, slot: Slot, serving: Generation) -> bool:
        """Tell whether a dependent's bytes on disk should come along: new, and not refused for their own sake."""
        seen = self._hot.look_again(slot) if slot.paused is None else None
        if seen is None or seen.digest == serving.digest:
            return False
        refusal = slot.refusal
        return refusal is None or refusal.digest != seen.digest or not refusal.fault.own_bytes

    def _swap(self) -> None:
        """Let the candidates serve: the one moment at which anything changes for anybody."""
        owner = self._hot._owner()
        assert owner is not None, "a manager outlives its own reload"
        replaced = [g for n in reversed(self.order) if (g := self._registry.serving.get(n)) is not None]
        for name in self.order:
            finder.publish(owner, self.candidates[name].namespace)
            # Before anybody can call it: a lazy import of a call that begins now is a load of its own.
            self.candidates[name].namespace.transaction = None
        self._registry.swap(self.candidates)
        self._hot._superseded.extend(replaced)
        for name in self.order:
            self._serves(self._hot._slot_of(name), self.candidates[name])

    def _serves(self, slot: Slot, generation: Generation) -> None:
        slot.number = generation.number
        slot.reloads += generation.number > 1
        if slot.name in self._from_disk:  # else newer bytes on disk may still be refused, and stay so
            slot.refusal = None
            slot.seen = Seen(generation.snapshot.look, generation.digest, generation.snapshot.look.racy)
        forget_sources(str(slot.found.path / file) for file in generation.snapshot.files)
        self._hot.events.post(_event("loaded", generation))
        LOG.info(
            "hotplug.reloaded" if generation.number > 1 else "hotplug.loaded",
            extra={"plugin": slot.name, "generation": generation.number, "digest": generation.digest},
        )

    def _discard(self) -> None:
        """Take down what was built: nothing of a refused version may live on."""
        timeout = self._hot.settings.retire_timeout
        for name in reversed(self.order):
            generation = self.candidates[name]
            self._hot.loader.unload(generation, started=generation in self._started, timeout=timeout)
            self._unbind(generation.namespace)
        self.candidates.clear()
        self.order.clear()
        self._started.clear()
        for cleanup in getattr(typing, "_cleanups", ()):
            cleanup()


def _event(kind: typing.Literal["loaded", "unloaded"], generation: Generation) -> Event:
    return Event(kind, generation.name, generation.number, generation.version, generation.digest)


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


def _in_flight(found: Found, seconds: float) -> Fault:
    message = f"handover is stop-first, and running calls did not end within {seconds:g} s"
    remedy = "It is tried again once they end; raise retire_timeout if they need longer."
    return Fault(found.name, "calls-in-flight", message, found.path, remedy=remedy, own_bytes=False)


def _cycle(found: Found, path: Iterable[str]) -> Fault:
    message = f"plugins depend on each other: {' -> '.join(path)}"
    return Fault(
        found.name,
        "dependency-cycle",
        message,
        found.path,
        remedy="Break the circle in depends_on or imports.",
    )
