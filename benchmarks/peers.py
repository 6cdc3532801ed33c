"""Other reloaders behind the protocol of the hazard scenarios (`tests/hazards/adapter.py`).

Each is used as its own documentation says, on plugins that are packages in a directory whose parent
is on `sys.path`. Where a peer has hooks (setup and teardown, dispose callbacks), a plugin's on_load,
on_unload and context.register are translated to them. Peers that are driven by a file watcher are
told of every file that changed since the last look: what their watcher might overlook is not
counted against them. Imports each peer inside its adapter only.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.hazards.adapter import DETECTS, HOOKS, STOP_FIRST, Adapter, Said
from tests.hazards.ours import Ours

__all__ = ["PEERS", "Peer"]


def _module(name: str) -> Any:
    """Import a module of a peer."""
    return importlib.import_module(name)


class Undo:
    """What a plugin's on_load is given as `context` where a peer has hooks: undo, last first."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], Any]] = []

    def register(self, undo: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._undo.append(lambda: undo(*args, **kwargs))

    async def close(self) -> None:
        while self._undo:
            result = self._undo.pop()()
            if inspect.isawaitable(result):
                await result


async def set_up(main: ModuleType, undo: Undo) -> None:
    """Call a plugin's on_load, if it has one."""
    hook = getattr(main, "on_load", None)
    if hook is not None:
        result = hook(undo) if inspect.signature(hook).parameters else hook()
        if inspect.isawaitable(result):
            await result


async def take_down(main: ModuleType, undo: Undo) -> None:
    """Call a plugin's on_unload, and run what it registered."""
    hook = getattr(main, "on_unload", None)
    if hook is not None:
        result = hook()
        if inspect.isawaitable(result):
            await result
    await undo.close()


class Loop:
    """An event loop that turns on the thread which asks, as a bot's does on the main thread."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._lock = threading.RLock()  # one thread turns it at a time
        self._pid = os.getpid()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, and let what it cancelled end."""
        if os.getpid() != self._pid:
            self._begin()  # a child has its own

        async def turning() -> Any:
            try:
                return await work
            finally:
                await asyncio.sleep(0)

        with self._lock:
            return self.loop.run_until_complete(turning())


class Changes:
    """A watcher that misses nothing: which files differ from the last look, by content or by any time."""

    def __init__(self, plugins: Path) -> None:
        self._plugins = plugins
        self._seen = dict(self._look())

    def _look(self) -> Iterator[tuple[Path, object]]:
        for place, _, files in os.walk(self._plugins, followlinks=True):
            for file in files:
                path = Path(place, file)
                if path.suffix in (".py", ".json", ".txt") and path.is_file():
                    found = path.stat()
                    yield path, (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, _content(path))

    def since_last_look(self, settle: float = 0.0) -> list[Path]:
        """Return what was written, once nothing was for `settle` seconds."""
        now = dict(self._look())
        while settle and now != self._seen:
            time.sleep(settle)
            before, now = now, dict(self._look())
            if before == now:
                break
        changed = [path for path, found in now.items() if self._seen.get(path) != found]
        self._seen = now
        return changed


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class InPlace:
    """A peer that works on `sys.modules`; what it does at a reload is for its own class to say."""

    name = ""
    helps: frozenset[str] = frozenset()
    can: frozenset[str] = frozenset()
    init = ""

    def __init__(self) -> None:
        self.plugins: Path
        self.package = ""

    def open(self, plugins: Path, settings: Mapping[str, Any]) -> None:
        self.plugins, self.package = plugins, plugins.name
        sys.path.insert(0, str(plugins.parent))
        self.prepare()

    def prepare(self) -> None:
        """Get ready, before any plugin is loaded."""

    def flat(self, plugin: str) -> None:
        sys.path.append(str(self.plugins / plugin))

    def main(self, plugin: str) -> str:
        return f"{self.package}.{plugin}.main"

    def modules(self, plugin: str) -> list[str]:
        """Return the names of the plugin's loaded modules, importers first; flat ones lie in its directory."""
        prefix, place = f"{self.package}.{plugin}", str(self.plugins / plugin) + os.sep
        return [
            name
            for name, module in list(sys.modules.items())
            if f"{name}.".startswith(f"{prefix}.") or (getattr(module, "__file__", None) or "").startswith(place)
        ]

    def start(self, plugin: str) -> None:
        importlib.invalidate_caches()
        importlib.import_module(self.main(plugin))

    def call(self, plugin: str, function: str, *args: Any) -> Any:
        return getattr(sys.modules[self.main(plugin)], function)(*args)

    async def acall(self, plugin: str, function: str, *args: Any) -> Any:
        return await self.call(plugin, function, *args)

    def module(self, plugin: str) -> ModuleType:
        return sys.modules[self.main(plugin)]

    def reload(self, plugin: str) -> Said:
        try:
            return self.bring(plugin)
        except Exception:  # noqa: BLE001  # what a careful host catches; the peer has said no
            return "refused"

    def bring(self, plugin: str) -> Said:
        """Do what the peer does; raise what it raises."""
        raise NotImplementedError

    def close(self) -> None:
        """The process ends."""


class ReloadAll(InPlace):
    name = "importlib.reload of all"

    def bring(self, plugin: str) -> Said:
        importlib.invalidate_caches()
        for name in reversed(self.modules(plugin)):
            if getattr(sys.modules[name], "__file__", None):
                importlib.reload(sys.modules[name])
        return "new"


class Purge(InPlace):
    """Forget the plugin's modules and import it anew; the host holds the module that it imported last."""

    name = "purge + import"

    def prepare(self) -> None:
        self.held: dict[str, ModuleType] = {}

    def start(self, plugin: str) -> None:
        super().start(plugin)
        self.held[plugin] = sys.modules[self.main(plugin)]

    def call(self, plugin: str, function: str, *args: Any) -> Any:
        return getattr(self.held[plugin], function)(*args)

    def module(self, plugin: str) -> ModuleType:
        return self.held[plugin]

    def bring(self, plugin: str) -> Said:
        importlib.invalidate_caches()
        for name in self.modules(plugin):
            del sys.modules[name]
        self.held[plugin] = importlib.import_module(self.main(plugin))
        return "new"


class DiscordExtension(InPlace):
    """Extensions are packages with setup and teardown; a reload unloads first and rolls back on failure."""

    name = "discord.py"
    helps = frozenset({HOOKS, STOP_FIRST})
    init = """
from . import main as _main
from benchmarks.peers import Undo as _Undo, set_up as _set_up, take_down as _take_down
_undo = _Undo()
async def setup(bot): await _set_up(_main, _undo)
async def teardown(bot): await _take_down(_main, _undo)
"""

    def prepare(self) -> None:
        self.loop = Loop()
        intents = _module("discord").Intents.none()
        self.bot = _module("discord.ext.commands").Bot("!", intents=intents)

    def start(self, plugin: str) -> None:
        importlib.invalidate_caches()
        self.loop.run(self.bot.load_extension(f"{self.package}.{plugin}"))

    def bring(self, plugin: str) -> Said:
        importlib.invalidate_caches()
        self.loop.run(self.bot.reload_extension(f"{self.package}.{plugin}"))
        return "new"


class Hmr(InPlace):
    """An entry file that uses the plugins runs under hmr, which runs again what depends on a changed file."""

    name = "hmr"
    helps = frozenset({HOOKS, STOP_FIRST})
    can = frozenset({DETECTS})

    def prepare(self) -> None:
        core = _module("reactivity.hmr.core")
        self.loop = Loop()
        self.entry = self.plugins.parent / "entry.py"
        self.entry.write_text("")
        self.reloader = core.BaseReloader(str(self.entry), includes=[str(self.plugins.parent)])
        self.effect = core.HMR_CONTEXT.effect(self.reloader.run_entry_file)
        self.changes = Changes(self.plugins)
        self.started: dict[str, object] = {}
        self.errors: list[BaseException] = []
        sys.excepthook = lambda kind, error, trace: self.errors.append(error)

    def start(self, plugin: str) -> None:
        with self.entry.open("a") as entry:
            entry.write(f"from {self.package}.{plugin} import main as {plugin}\ngetattr({plugin}, 'run', None)\n")
        self.reloader.on_changes({self.entry.resolve()})
        if self.errors:
            raise self.errors[0]
        self.set_up(plugin)
        self.changes.since_last_look()

    def set_up(self, plugin: str) -> None:
        """Call on_load, and let hmr take down what it set up before the module runs again."""
        on_dispose = _module("reactivity.hmr.hooks").on_dispose
        main, undo = self.module(plugin), Undo()
        self.started[plugin] = getattr(main, "run", None)
        on_dispose(lambda: self.loop.run(take_down(main, undo)), str(self.plugins / plugin / "main.py"))
        self.loop.run(set_up(main, undo))

    def bring(self, plugin: str) -> Said:
        changed = self.changes.since_last_look(settle=0.05)  # as watchfiles gathers them
        if not changed:
            return "unchanged"
        self.errors.clear()
        self.reloader.on_changes({path.resolve() for path in changed})
        failed = bool(self.errors)
        for name, run in self.started.items():
            if getattr(self.module(name), "run", None) is not run:
                self.set_up(name)
        return "refused" if failed else "new"


class SuperReload(InPlace):
    name = "superreload"
    can = frozenset({DETECTS})

    def prepare(self) -> None:
        self.changes = Changes(self.plugins)
        self.reloader = _module("superreload.core.reloader").Reloader()

    def start(self, plugin: str) -> None:
        super().start(plugin)
        self.changes.since_last_look()

    def bring(self, plugin: str) -> Said:
        changed = self.changes.since_last_look(settle=0.05)  # as watchfiles gathers them
        if not changed:
            return "unchanged"
        result = asyncio.run(self.reloader.reload_from_paths(changed))
        return "new" if result.success else "refused"


class Jurigged(InPlace):
    name = "jurigged"
    can = frozenset({DETECTS})

    def prepare(self) -> None:
        place = str(self.plugins.parent)
        self.errors: list[object] = []
        self.watcher = _module("jurigged").watch(
            lambda file: file.startswith(place), logger=self._log, autostart=False, debounce=0
        )
        self.changes = Changes(self.plugins)

    def _log(self, event: object) -> None:
        if isinstance(event, Exception):
            self.errors.append(event)

    def start(self, plugin: str) -> None:
        super().start(plugin)
        self.changes.since_last_look()

    def bring(self, plugin: str) -> Said:
        self.errors.clear()
        changed = [path for path in self.changes.since_last_look() if path.suffix == ".py"]
        for path in changed:
            if self.watcher.registry.get(str(path)) is not None:
                self.watcher.refresh(str(path))
        if self.errors:
            return "refused"
        return "new" if changed else "unchanged"


class Autoreload(InPlace):
    """IPython's autoreload, as `%autoreload 2` and `%autoreload 3` use it before each cell."""

    can = frozenset({DETECTS})
    autoloads = False

    def prepare(self) -> None:
        shell: Any = SimpleNamespace(user_ns={}) if self.autoloads else None
        self.reloader = _module("IPython.extensions.autoreload").ModuleReloader(shell)
        self.reloader.enabled = self.reloader.check_all = True
        self.reloader.autoload_obj = self.autoloads
        self.reloader.hide_errors = True

    def start(self, plugin: str) -> None:
        super().start(plugin)
        self.reloader.check(check_all=True, do_reload=False)

    def bring(self, plugin: str) -> Said:
        before = dict(self.reloader.modules_mtimes)
        failed = dict(self.reloader.failed)
        self.reloader.check(check_all=True)
        if self.reloader.failed != failed and self.reloader.failed:
            return "refused"
        return "new" if self.reloader.modules_mtimes != before else "unchanged"


class Autoreload2(Autoreload):
    name = "IPython autoreload 2"


class Autoreload3(Autoreload):
    name = "IPython autoreload 3"
    autoloads = True


class Limeade(InPlace):
    """Looks whether a source is younger than its .pyc; files here are dated, so their .pyc is dated with them."""

    name = "limeade"
    can = frozenset({DETECTS})

    def start(self, plugin: str) -> None:
        super().start(plugin)
        self.date_bytecode()

    def bring(self, plugin: str) -> Said:
        limeade = _module("limeade")
        importlib.invalidate_caches()
        found = [module.__name__ for module in limeade.scan(list(sys.modules.values()))]
        try:
            limeade.refresh([sys.modules[name] for name in found])
        finally:
            self.date_bytecode()
        return "new" if found else "unchanged"

    def date_bytecode(self) -> None:
        """Give each .pyc the time of the source that it was made from, which stands in its bytes 8 to 12."""
        for place in self.plugins.rglob("*.pyc"):
            seconds = int.from_bytes(place.read_bytes()[8:12], "little")
            os.utime(place, (seconds + 0.5, seconds + 0.5))


class XReload(InPlace):
    name = "xreload"

    def bring(self, plugin: str) -> Said:
        importlib.invalidate_caches()
        for name in reversed(self.modules(plugin)):
            if getattr(sys.modules[name], "__file__", None):
                _module("xreload").xreload(sys.modules[name])
        return "new"


@dataclass(frozen=True)
class Peer:
    """A reloader to compare with: its adapter, and what must be installed for it."""

    adapter: Callable[[], Adapter]
    name: str
    distribution: str = ""
    module: str = ""
    can: frozenset[str] = frozenset()


def _peer(adapter: type[InPlace], distribution: str = "", module: str = "") -> Peer:
    return Peer(adapter, adapter.name, distribution, module, adapter.can | (adapter.helps & {HOOKS}))


PEERS = [
    Peer(Ours, Ours.name, "pytest-hotplug", "pytest_hotplug", Ours.can | {HOOKS}),
    _peer(ReloadAll),
    _peer(Purge),
    _peer(DiscordExtension, "discord.py", "discord"),
    _peer(Hmr, "hmr", "reactivity"),
    _peer(SuperReload, "superreload", "superreload"),
    _peer(Jurigged, "jurigged", "jurigged"),
    _peer(Autoreload2, "ipython", "IPython"),
    _peer(Autoreload3, "ipython", "IPython"),
    _peer(Limeade, "limeade", "limeade"),
    _peer(XReload, "xreload", "xreload"),
]
