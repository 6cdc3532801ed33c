"""PluginManager: the registry of plugins and everything a host asks of it.

Thin on purpose: each verb is a line or two that asks the part which knows. Imports no watcher; one
is injected by the package's front door.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Literal

import msgspec

from pytest_hotplug.reloader import finder, pauses, transaction
from pytest_hotplug.reloader.calls import Calls
from pytest_hotplug.reloader.context import Host
from pytest_hotplug.reloader.discovery import find_plugins
from pytest_hotplug.reloader.errors import InvalidPluginName, UnknownPlugin, UsageError
from pytest_hotplug.reloader.events import Event, Events
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.info import health_of, info_of
from pytest_hotplug.reloader.leases import Lease, Leases
from pytest_hotplug.reloader.loader import Loader
from pytest_hotplug.reloader.loop_thread import LoopThread
from pytest_hotplug.reloader.modules import Namespace, Neighbours
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.reloader.newest import Newest
from pytest_hotplug.reloader.outcomes import Outcome, Reloaded
from pytest_hotplug.reloader.own_health import OwnHealth
from pytest_hotplug.reloader.recording import Recorder
from pytest_hotplug.reloader.registry import Registry, Slot
from pytest_hotplug.reloader.reload import HotLoader
from pytest_hotplug.reloader.settings import InUse, Layout, Settings, layouts, make_settings
from pytest_hotplug.reloader.store import DiskStore, MemoryStore
from pytest_hotplug.reloader.watched import Watched
from pytest_hotplug.reloader.watching import Watch
from pytest_hotplug.reloader.why import why

__all__ = ["PluginManager"]

Keeps = Literal["in-memory", "on-disk", "read-only"]
_managers: weakref.WeakSet[PluginManager] = weakref.WeakSet()


class PluginManager:
    """Loads plugins, executes them on their newest good version, and reloads them when they change.

    Cheap to make: imports nothing and reads no settings file. Any setting is a keyword, e.g.
    `PluginManager(plugin_dirs=["plugins"], debounce=0.2)`; relative paths are relative to `root`
    (default: the working directory). Good versions, rollbacks and pauses are kept in memory, or, where
    `state_dir` is given, in that directory and over restarts. Raises UsageError `[bad-setting]`.
    """

    default_watch: Watch | None = None  # set by the package's front door

    def __init__(self, *, root: str | Path | None = None, **settings: Any) -> None:
        keeps: Keeps = "on-disk" if "state_dir" in settings else "in-memory"
        worker = settings.get("worker_name", "")
        self._setup(make_settings(settings), Path(root) if root else Path.cwd(), keeps=keeps, worker=worker)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        root: Path,
        places: Iterable[Layout] | None = None,
        *,
        starts: bool = True,
        keeps: Keeps = "in-memory",
        worker: str = "",
    ) -> PluginManager:
        """Make a manager from settings that were read already; `places` overrides their plugin dirs.

        With `starts` False it loads and swaps modules but calls no on_load and no on_unload. `keeps`
        says where versions are kept: "on-disk" is the state_dir, "read-only" looks there and writes nothing.
        `worker` is what the history calls this process (`{pid}` allowed), nothing by default.
        """
        manager = cls.__new__(cls)
        manager._setup(settings, root, places, keeps, worker)
        manager._hot_loader.loader.calls_hooks = starts
        return manager

    def _setup(
        self,
        settings: Settings,
        root: Path,
        places: Iterable[Layout] | None = None,
        keeps: Keeps = "in-memory",
        worker: str = "",
    ) -> None:
        self._in_use = InUse(settings)
        self._layouts = tuple(layouts(settings, root) if places is None else places)
        self._registry = Registry()
        self._events = Events()
        self._leases = Leases()
        self._loop = LoopThread()
        self._host = Host(settings.host, self._loop)
        limit, state_dir = settings.keep_versions, root / Path(settings.state_dir).expanduser()
        store = MemoryStore(limit) if keeps == "in-memory" else DiskStore(state_dir, limit, writes=keeps == "on-disk")
        self._recorder = Recorder(store, self._registry, self._events, worker)
        self._hot_loader = HotLoader(
            self._in_use,
            self._registry,
            self._leases,
            self._events,
            self._slot,
            self._make_loader,
            self,
            self._recorder,
        )
        self._calls = Calls(self._leases, self._hot_loader.loader, self._loop)
        self._before_call: Callable[[Generation], None] | None = None
        self._newest = Newest(self._registry, self._leases, self._hot_loader)
        self._watched = Watched(self._registry, self._hot_loader, self.discover)
        self._own_health = OwnHealth(self._registry, self._leases, self._in_use)
        switch = self._recorder.switch()
        pauses.switch(self._registry, switch.enabled, switch.until)
        _managers.add(self)

    def _after_fork(self) -> None:
        """Go on in a child process: no thread of the parent exists here, and no lock may wait for one."""
        shared = (self._registry, self._leases, self._events, self._loop, self._host)
        for part in (*shared, self._hot_loader, self._newest, self._watched, self._own_health):
            part.after_fork()

    def _make_loader(self, neighbours: Neighbours) -> Loader:
        return Loader(self._in_use, self._host, self._loop, neighbours)

    @property
    def settings(self) -> Settings:
        """Return the settings that it goes by at this moment."""
        return self._in_use.now

    def take_over(self, settings: Settings) -> tuple[list[str], list[str]]:
        """Go by other settings from now on, as far as they may change while plugins serve.

        Returns the names of those that differ: what was taken over, and what needs a new manager and stays as it was.
        What was refused for where or how it lies is looked at again; a running watch keeps its times until it is
        started anew.
        """
        taken, left = self._in_use.take_over(settings)
        self._recorder.store.limit = self.settings.keep_versions
        for slot in list(self._registry.slots.values()):
            slot.trusted = None
            self._hot_loader.checker.try_again(slot)
        return taken, left

    # -- what there is --------------------------------------------------------------------------

    @property
    def plugin_dirs(self) -> tuple[Path, ...]:
        """Return the plugin dirs, absolute."""
        return tuple(layout.path for layout in self._layouts)

    def discover(self) -> list[str]:
        """Look for plugins on disk and return their names, sorted; executes nothing.

        Raises UsageError `[duplicate-plugin]`.
        """
        if self._registry.closed:
            raise UsageError("this manager is closed", "closed")
        found = find_plugins(self._layouts, self.settings.exclude)
        gone = {name for name in list(self._registry.slots) if name not in found}
        for plugin in self._registry.forget(gone):
            finder.release(self, plugin.public)
        new = self._registry.learn(found)
        self._recorder.recall([self._registry.slots[plugin.name] for plugin in new])
        for plugin in new:
            finder.claim(plugin.public, self, plugin.name, plugin.layout.beside or plugin.layout.path)
        return sorted(found)

    def _slot(self, name: str) -> Slot:
        slot = self._registry.slots.get(name)
        if slot is None:
            known = self.discover()
            slot = self._registry.slots.get(name)
            if slot is None:
                raise (UnknownPlugin if is_plugin_name(name) else InvalidPluginName)(name, known)
        return slot

    # -- load and execute -----------------------------------------------------------------------

    def load(self, name: str) -> Generation:
        """Return the generation that serves, loading the plugin if none does.

        Raises UnknownPlugin, PluginDisabled, PluginLoadError.
        """
        return self._newest.load(self._slot(name))

    def execute(self, name: str, /, **kwargs: Any) -> Any:
        """Call the plugin's entry on its newest good generation.

        Checks for changes first and reloads if there are any. Raises ParameterError, UnknownPlugin,
        PluginDisabled, PluginLoadError; what the entry raises passes unchanged.
        """
        lease = self._newest.lease(self._slot(name))
        return self._calls.run(lease, self._prepare(lease, self._calls.entry, kwargs), verb="execute")

    def call(self, name: str, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call any function of the plugin (`"name"` in its entry module, or `"module.name"`), checking first."""
        lease = self._newest.lease(self._slot(name))
        found = self._prepare(lease, self._calls.function, function)
        return self._calls.run(lease, (found, args, kwargs), verb="call")

    async def aexecute(self, name: str, /, **kwargs: Any) -> Any:
        """Execute from a running event loop: an async entry is awaited, any other runs in a thread."""
        lease = await self._newest.alease(self._slot(name))
        return await self._calls.arun(lease, self._prepare(lease, self._calls.entry, kwargs))

    async def acall(self, name: str, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call from a running event loop; see `call` and `aexecute`."""
        lease = await self._newest.alease(self._slot(name))
        found = self._prepare(lease, self._calls.function, function)
        return await self._calls.arun(lease, (found, args, kwargs))

    def _prepare(self, lease: Lease, step: Callable[[Generation, Any], Any], what: Any) -> Any:
        """Run a step between lease and call; the lease ends if it fails."""
        try:
            if self._before_call is not None:
                self._before_call(lease.generation)
            return step(lease.generation, what)
        except BaseException:
            self._leases.give_back(lease)
            raise

    def module(self, name: str, sub: str = "") -> ModuleType:
        """Return a module of the current generation ("" is the package itself); checks nothing."""
        namespace = self.load(name).namespace
        return namespace.load(namespace.full_name(sub))

    def namespace_for_import(self, plugin: str) -> Namespace:
        """Serve an import of a plugin's public name: the current generation, loaded if need be."""
        return self.load(plugin).namespace

    # -- reload ---------------------------------------------------------------------------------

    def reload(self, name: str) -> Outcome:
        """Act on changed content now; returns after the swap, never waits for running calls.

        A version that was refused before any of its code ran (for a permission, say) is looked at again.
        Never raises for a broken plugin: see the Outcome. Raises UnknownPlugin.
        """
        return self._hot_loader.reload(name, by_hand=True)

    def force_reload_plugin(self, name: str) -> bool:
        """Load the plugin anew even if nothing changed; True when a fresh generation now serves."""
        return isinstance(self._hot_loader.reload(name, force=True), Reloaded)

    def rollback(self, name: str, to: str | None = None) -> Outcome:
        """Serve an older good version again, from its kept copy, data files included.

        `to` is its digest or a prefix of at least 7 digits; without it, the newest version older
        than the one that serves. It stays until the plugin's files change, also over restarts
        where there is a state_dir, or until `end_rollback`. KeptCurrent when nothing older is kept
        or the older version doesn't load. Raises UnknownPlugin, UsageError `[unknown-version]`.
        """
        return self._hot_loader.rollback(name, to)

    def end_rollback(self, name: str) -> Outcome:
        """End a rollback: what is on disk is loaded again. Raises UnknownPlugin."""
        return self._hot_loader.end_rollback(name)

    def kept_versions(self, name: str) -> list[dict[str, Any]]:
        """Return the good versions that `rollback` can serve, newest first.

        Each is `{"digest", "version", "kept_at" (time.time()), "serving"}`. Raises UnknownPlugin.
        """
        serving = self._registry.serving.get(self._slot(name).name)
        return [
            {"digest": v.digest, "version": v.version, "kept_at": v.kept_at,
             "serving": serving is not None and serving.digest == v.digest}
            for v in self._recorder.notes(name).versions
        ]  # fmt: skip

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return what became of a plugin's versions, oldest first.

        Each is `{"kind", "at" (time.time()), ...}`: loaded and rolled-back with version, digest and
        generation, refused with digest, slug and message, unloaded; `asked_by` says who asked for it and
        `worker` which one did it, where that was said. Raises UnknownPlugin.
        """
        return [msgspec.to_builtins(record) for record in self._recorder.history(self._slot(name).name)]

    def unload(self, name: str) -> Outcome:
        """Let the plugin, and what depends on it, serve no more; running calls end in peace."""
        return self._hot_loader.unload(self._slot(name).name)

    def pause(self, name: str, reason: str = "", lasts: float | None = None) -> None:
        """Check this plugin no more until `resume`, or for `lasts` seconds; its pending edit is applied afterwards.

        Raises UnknownPlugin, UsageError `[bad-duration]`.
        """
        self._set_paused(name, reason, pauses.end_of(lasts))

    def resume(self, name: str) -> None:
        """Check this plugin again from the next execution on."""
        self._set_paused(name, None)

    def _set_paused(self, name: str, reason: str | None, until: float | None = None) -> None:
        slot = self._slot(name)
        pauses.pause(self._registry, slot, reason, until)
        self._recorder.set_paused(slot)

    @property
    def hot_reload_enabled(self) -> bool:
        """Tell whether executions check for changes."""
        pauses.lift(self._registry)
        return self._registry.hot_reload

    def enable_hot_reload(self) -> None:
        """Check before each execution; edits made meanwhile are applied at the next one."""
        pauses.switch(self._registry, True, None)
        self._recorder.set_enabled(True)

    def disable_hot_reload(self, lasts: float | None = None) -> None:
        """Check nothing until `enable_hot_reload`, or for `lasts` seconds; what serves goes on serving.

        Raises UsageError `[bad-duration]`.
        """
        until = pauses.end_of(lasts)
        pauses.switch(self._registry, False, until)
        self._recorder.set_enabled(False, until)

    # -- what is known --------------------------------------------------------------------------

    def get_plugin_hot_info(self, name: str) -> dict[str, Any]:
        """Return what is known of a plugin, as plain data: version, state, digest, generation, error and more.

        `load_time` is when the serving generation was loaded (`time.time()`), None before that.
        """
        pauses.lift(self._registry)
        return info_of(self._slot(name), self._registry, self._hot_loader, self._leases)

    def why(self, name: str) -> dict[str, Any]:
        """Say why this version serves, and who keeps old generations in memory.

        `verdict` is one of current, paused, rolled-back, refused, settling, held-by-git, breaker,
        ignored-file, same-content, unreadable, dependency-refused, root-missing, watcher-down; `text`
        says it in a sentence, `remedy` what helps against a refusal; `holders` are
        `{"generation", "held", "place", "chain"}`, `lines` the same for people; `next_try` the seconds
        until a refused version is tried again. Walks the heap when old generations are alive: a
        question for people, not for a probe. Raises UnknownPlugin.
        """
        slot = self._slot(name)
        pauses.lift(self._registry)
        watched = self._watched
        return why(slot, self._registry, self._hot_loader, self._leases, watched.running, watched.breaker)

    def health(self) -> dict[str, Any]:
        """Return `{"status": "ok" | "degraded" | "failed", "reasons": [...], ...}` over all plugins.

        A plugin's own `health()` has 5 seconds for its answer, `load_timeout` where that is shorter.
        """
        self.discover()
        pauses.lift(self._registry)
        complaints = self._own_health.complaints()
        return health_of(
            self._registry,
            self._hot_loader,
            self._leases,
            self._watched.running,
            complaints,
            self._recorder.problem,
        )

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Call `subscriber` with every Event of this manager; return what ends it."""
        return self._events.subscribe(subscriber)

    # -- watching -------------------------------------------------------------------------------

    def start_watching(self, watch: Watch | None = None, tell: Callable[[Outcome], None] | None = None) -> None:
        """Reload changed plugins in the background from now on; without effect when it runs already.

        `tell` is called with the outcome of each look at a plugin that serves, also when nothing
        changed. Without it, plugins that failed to load are tried again as well; who listens loads them.
        """
        start = watch or self.default_watch
        if start is None:
            raise UsageError("no watcher is available; import PluginManager from pytest_hotplug", "no-watcher")
        self._watched.start(start, self.plugin_dirs, tell)

    def stop_watching(self) -> None:
        """End background reloading; executions still check for themselves."""
        self._watched.stop()

    # -- end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Unload everything, give public names back, end every thread; the manager is of no use afterwards."""
        if self._registry.closed:
            return
        if transaction.current() is not None:
            raise UsageError("close() was called by code that is being loaded; close after the load", "inside-load")
        self.stop_watching()
        self._newest.stop()
        self._hot_loader.close()
        for slot in list(self._registry.slots.values()):
            finder.release(self, slot.found.public)
        self._registry.closed = True
        self._registry.slots.clear()
        self._loop.stop()
        self._recorder.store.close()

    def __enter__(self) -> PluginManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _after_fork_in_child() -> None:
    for manager in list(_managers):
        manager._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
