"""A sandbox for one test: private copies of plugins, a manager of their own, everything undone.

The copies lie at `tmp_path/<plugin dir's name>/<plugin>` and keep their public names, so that
self-imports and `mock.patch` targets work. Edits are atomic; the reloader is the one that serves
in production.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, TypeVar

import msgspec

from pytest_hotplug.default import PluginManager
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import (
    Fault,
    InvalidPluginName,
    PluginLoadError,
    UnknownPlugin,
    UsageError,
    did_you_mean,
)
from pytest_hotplug.reloader.events import KINDS, Event
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.reloader.outcomes import Outcome
from pytest_hotplug.reloader.settings import Layout
from pytest_hotplug.testing.files import copy_plugin, read_tree, replace_text, write_atomic, write_tree
from pytest_hotplug.testing.flat_names import take_back_flat_names
from pytest_hotplug.testing.originals import Originals
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.versions import files_at

T = TypeVar("T")

__all__ = ["Hotplug", "SandboxedPlugin", "Snapshot", "Step"]

# Edits are atomic, so nothing has to settle; every call waits for the newest code.
_SETTINGS = {"debounce": 0.0, "on_change": "all-wait", "retire_timeout": 5.0, "host": ""}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a sandboxed plugin at one moment."""

    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """One version that `SandboxedPlugin.versions` went to: its ref, the reload's outcome, the digest that serves."""

    ref: str
    outcome: Outcome
    digest: str


class Hotplug:
    """What the `hotplug` fixture gives a test. A context manager: on exit everything is as before.

    `project` may be None: then only `create` works, below `tmp_path/plugins`. `here` is the test
    file, which tells what `load()` without a name means; `host` is the object that plugins get.
    """

    def __init__(
        self,
        tmp_path: Path,
        project: TestProject | None = None,
        *,
        here: Path | None = None,
        host: Any = None,
    ) -> None:
        self._project = project
        self._here = here
        self._layouts = _private_layouts(project, tmp_path)
        self._modules_before = dict(sys.modules)
        self._plugins: dict[str, SandboxedPlugin] = {}
        self._originals = Originals()
        self._all_events: list[Event] = []
        self._mark = 0  # events before this index are older than the last edit
        self._awaited: dict[tuple[str, str | None], int] = {}
        self._arrived = threading.Condition()  # guards _all_events
        self.manager = self._make_manager(tmp_path, host)
        self.note: Callable[[str], None] = lambda line: None  # set by the fixture: where hints for people go

    def _make_manager(self, tmp_path: Path, host: Any) -> PluginManager:
        from pytest_hotplug.reloader.settings import Settings

        base = self._project.settings if self._project else Settings()
        settings = msgspec.structs.replace(base, **_SETTINGS)
        manager = PluginManager.from_settings(settings, tmp_path, [layout for layout, _ in self._layouts])
        manager._host.set(host)
        manager._hot_loader.loader.code_path = self._originals.code_path
        manager._before_call = _mirror_builtins
        manager.subscribe(self._heard)
        return manager

    @property
    def plugin_dir(self) -> Path:
        """Return the sandbox's plugin dir: the one of the test's own plugin, else the first."""
        own = self._own_plugin()
        if own is not None:
            return next(layout.path for layout, original in self._layouts if original == own.layout)
        return self._layouts[0][0].path

    # -- plugins --------------------------------------------------------------------------------

    def load(self, name: str | None = None) -> SandboxedPlugin:
        """Copy a plugin and what it depends on into the sandbox, load it, and return it.

        Without a name: the plugin that the test file lies in. Raises UnknownPlugin, PluginLoadError.
        """
        __tracebackhide__ = True
        plugin = self.add(name)
        self._told_briefly(lambda: self.manager.load(plugin.name))
        return plugin

    def add(self, name: str | None = None) -> SandboxedPlugin:
        """Copy like `load`, but execute nothing yet."""
        found = self._original(name)
        if found is None:
            assert name is not None, "only a plugin made in the sandbox has no original"
            return self._plugins[name]
        if found.name not in self._plugins:
            self._copy(found)
        return self._plugins[found.name]

    def create(
        self, name: str, files: Mapping[str, str | bytes], *, manifest: Mapping[str, Any] | None = None
    ) -> SandboxedPlugin:
        """Make a plugin out of texts; nothing is loaded before it is used.

        `manifest` becomes its manifest, with `name` filled in; without one there is none, unless it
        stands among `files`. Raises InvalidPluginName, and ValueError when the name is taken.
        """
        if not is_plugin_name(name):
            raise InvalidPluginName(name)
        layout = next(layout for layout, _ in self._layouts if layout.path == self.plugin_dir)
        path = layout.path / name
        if path.exists():
            raise ValueError(f"the sandbox holds a plugin {name!r} already")
        contents = {file: text.encode() if isinstance(text, str) else text for file, text in files.items()}
        if manifest is not None:
            contents[layout.manifest[0]] = msgspec.json.format(msgspec.json.encode({"name": name, **manifest}))
        path.mkdir(parents=True)
        write_tree(path, contents)
        return self._adopt(name, path, None)

    def _original(self, name: str | None) -> Found | None:
        """Return the real plugin to copy, None for one that was made in the sandbox."""
        if name is None:
            own = self._own_plugin()
            if own is None:
                raise UsageError(
                    "hotplug.load() needs a name here: the test file lies in no plugin of the configured plugin dirs",
                    "no-own-plugin",
                )
            return own
        if name in self._plugins:
            return self._plugins[name]._original
        known = self._project.plugins() if self._project else {}
        if name not in known:
            raise (UnknownPlugin if is_plugin_name(name) else InvalidPluginName)(name, known)
        return known[name]

    def _own_plugin(self) -> Found | None:
        return self._project.plugin_of(self._here) if self._project and self._here else None

    def _copy(self, found: Found) -> None:
        layout = next(layout for layout, original in self._layouts if original == found.layout)
        path = layout.path / found.name
        copy_plugin(found.path, path)
        self._originals.add(found, path)
        plugin = self._adopt(found.name, path, found)
        for used in _depends_on(found):
            if used not in self._plugins:
                known = self._project.plugins() if self._project else {}
                if used in known:
                    self._copy(known[used])
        plugin._forget_edits()

    def _told_briefly(self, act: Callable[[], T]) -> T:
        """Run `act`; let a version that can't be loaded fail the test with its own message, without our frames."""
        __tracebackhide__ = True
        try:
            return act()
        except PluginLoadError as error:
            fault = self._originals.blame(error.fault)
        raise PluginLoadError(fault)

    def _adopt(self, name: str, path: Path, original: Found | None) -> SandboxedPlugin:
        self._plugins[name] = plugin = SandboxedPlugin(self, name, path, original)
        self.manager.discover()
        return plugin

    # -- events ---------------------------------------------------------------------------------

    @property
    def events(self) -> list[Event]:
        """Return what reloads did, in order: loaded, kept, error, unloaded.

        `retired` comes at its own time, when an old generation's last call ended: see `wait_for`.
        """
        return [event for event in self._all_events if event.kind != "retired"]

    @property
    def log(self) -> list[str]:
        """Return the events as text with paths relative and digests masked: stable for snapshots."""
        return [self._line(event) for event in self.events]

    def _line(self, event: Event) -> str:
        text = f"{event.kind} {event.plugin}"
        if event.kind == "error":
            text = f"error {event.message}"
        elif event.generation is not None:
            text += f" generation {event.generation}"
        for layout, original in self._layouts:
            for place in (layout, original) if original else (layout,):
                text = text.replace(f"{place.path}", place.path.name)
        return re.sub(r"\b[0-9a-f]{32}\b", "<digest>", text)

    def wait_for(self, kind: str, name: str | None = None, timeout: float = 5.0) -> Event:
        """Return the next event of this kind (of this plugin) since the last edit; each is returned once.

        Raises TimeoutError, with what happened instead, and UsageError `[unknown-event]`.
        """
        if kind not in KINDS:
            raise UsageError(
                f"no event is called {kind!r}{did_you_mean(kind, KINDS)} ({', '.join(KINDS)})", "unknown-event"
            )
        deadline = time.monotonic() + timeout
        key = (kind, name)
        with self._arrived:
            while True:
                start = max(self._mark, self._awaited.get(key, 0))
                for index in range(start, len(self._all_events)):
                    event = self._all_events[index]
                    if event.kind == kind and name in (None, event.plugin):
                        self._awaited[key] = index + 1
                        return event
                if not self._arrived.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    since = [f"{e.kind} {e.plugin}" for e in self._all_events[self._mark :]]
                    wanted = f"{kind} {name or 'of any plugin'}"
                    raise TimeoutError(f"no event '{wanted}' within {timeout:g} s; since the last edit: {since}")

    def _heard(self, event: Event) -> None:
        told = self._originals.retell(event)
        with self._arrived:
            self._all_events.append(told)
            self._arrived.notify_all()

    def _edited(self) -> None:
        """Remember that whatever is awaited from now on must be newer than this edit."""
        take_back_flat_names()
        with self._arrived:
            self._mark = len(self._all_events)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the sandbox with the real watcher: edits are reloaded in the background."""
        self.manager.start_watching()
        try:
            yield
        finally:
            self.manager.stop_watching()

    # -- end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Undo everything: plugins unloaded, public names given back, threads ended."""
        self.manager.close()
        for layout, _ in self._layouts:
            _drop_made_up_packages(layout.package, self._modules_before)

    def __enter__(self) -> Hotplug:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SandboxedPlugin:
    """One plugin in a sandbox: edit it, run it, see what happens."""

    def __init__(self, sandbox: Hotplug, name: str, path: Path, original: Found | None) -> None:
        self._sandbox = sandbox
        self._manager = sandbox.manager
        self._original = original
        self.name = name
        self.path = path
        self._pristine = self._remembered = Snapshot(read_tree(path))

    def __repr__(self) -> str:
        return f"<sandboxed plugin {self.name}>"

    # -- run ------------------------------------------------------------------------------------

    def execute(self, **kwargs: Any) -> Any:
        """Execute the entry on the newest good code; see PluginManager.execute."""
        __tracebackhide__ = True
        return self._sandbox._told_briefly(lambda: self._manager.execute(self.name, **kwargs))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call any function of the plugin; see PluginManager.call."""
        __tracebackhide__ = True
        return self._sandbox._told_briefly(lambda: self._manager.call(self.name, function, *args, **kwargs))

    async def aexecute(self, **kwargs: Any) -> Any:
        """Execute from a running event loop."""
        return await self._manager.aexecute(self.name, **kwargs)

    async def acall(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call from a running event loop."""
        return await self._manager.acall(self.name, function, *args, **kwargs)

    def reload(self) -> Outcome:
        """Reload if the content changed; see PluginManager.reload."""
        outcome = self._manager.reload(self.name)
        return outcome if outcome.error is None else replace(outcome, error=self._blame(outcome.error))

    @property
    def info(self) -> dict[str, Any]:
        """Return what is known of the plugin; see PluginManager.get_plugin_hot_info."""
        info = self._manager.get_plugin_hot_info(self.name)
        refusal = self._manager._slot(self.name).refusal
        return {**info, "error": str(self._blame(refusal.fault))} if info["error"] and refusal else info

    @property
    def generation(self) -> Generation:
        """Return the generation that serves, loading the plugin if none does."""
        __tracebackhide__ = True
        return self._sandbox._told_briefly(lambda: self._manager.load(self.name))

    def module(self, sub: str = "") -> ModuleType:
        """Return a module of the current generation ("" is the package itself); checks nothing."""
        __tracebackhide__ = True
        return self._sandbox._told_briefly(lambda: self._manager.module(self.name, sub))

    # -- edit -----------------------------------------------------------------------------------

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace every occurrence of an exact text; raises ValueError when it is empty or isn't there."""
        sys.audit("hotplug.edit", str(self._place(file)))
        replace_text(self._place(file), old, new)
        self._sandbox._edited()

    def write(self, file: str, content: str | bytes) -> None:
        """Write a file, new or not; raises ValueError for a directory."""
        write_atomic(self._file(file), content)
        self._sandbox._edited()

    def delete(self, file: str) -> None:
        """Delete a file; raises FileNotFoundError."""
        self._place(file).unlink()
        self._sandbox._edited()

    def rename(self, old: str, new: str) -> None:
        """Rename a file inside the plugin; raises FileNotFoundError, FileExistsError."""
        source, target = self._place(old), self._place(new)
        if not source.exists():
            raise FileNotFoundError(f"the plugin has no {old!r}")
        if target.exists() and not (source.samefile(target) and source != target):
            raise FileExistsError(f"the plugin has a {new!r} already; delete it first")
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        self._sandbox._edited()

    def touch(self, file: str = "main.py") -> None:
        """Give a file a new time and the same content; raises FileNotFoundError."""
        os.utime(self._place(file))
        self._sandbox._edited()

    def break_syntax(self, file: str = "main.py") -> None:
        """Make a file that no Python can compile."""
        path = self._place(file)
        sys.audit("hotplug.edit", str(path))
        write_atomic(path, path.read_bytes() + b"\ndef broken(:\n")
        self._sandbox._edited()

    def snapshot(self) -> Snapshot:
        """Remember the files as they are now, for `restore`."""
        self._remembered = Snapshot(read_tree(self.path))
        return self._remembered

    def restore(self, what: Snapshot | str | None = None) -> None:
        """Put all files back to a snapshot (default: the last one, else as they came), or one named file.

        Raises LookupError for a file that the snapshot doesn't hold, TypeError for anything else.
        """
        if isinstance(what, str):
            files = self._remembered.files
            if what not in files:
                raise LookupError(f"the snapshot holds no {what!r}{did_you_mean(what, files)}")
            self.write(what, files[what])
            return
        if not isinstance(what, Snapshot | None):
            raise TypeError(f"restore takes what snapshot() returned, or a file's name, not {type(what).__name__}")
        self._write_all((what or self._remembered).files)

    def versions(self, *refs: str) -> Iterator[Step]:
        """Go through versions of the plugin: git refs, "." for the work tree, or directories.

        Each is put in place in one batch and reloaded. Raises UsageError `[unknown-ref]`.
        """
        if self._original is None:
            raise UsageError(f"{self.name} was made in the sandbox, it has no versions", "unknown-ref")
        sys.audit("hotplug.history")
        for ref in refs:
            self._write_all(files_at(ref, self._original.path))
            outcome = self.reload()
            yield Step(ref, outcome, str(self.info["digest"] or ""))

    def _write_all(self, files: Mapping[str, bytes]) -> None:
        """Change several files at once as far as this sandbox's manager can see."""
        slot = self._manager._slot(self.name)
        with slot.turn:  # no reload begins while the files are mixed
            write_tree(self.path, files)
        self._sandbox._edited()

    def _place(self, file: str) -> Path:
        path = (self.path / file).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise ValueError(f"{file!r} lies outside the plugin")
        if path == self.path.resolve():
            raise ValueError(f"{file!r} is the plugin's directory; name a file in it")
        return path

    def _file(self, file: str) -> Path:
        path = self._place(file)
        if path.is_dir():
            raise ValueError(f"{file!r} is a directory; name a file in it")
        return path

    def _blame(self, fault: Fault) -> Fault:
        return self._sandbox._originals.blame(fault)

    def _forget_edits(self) -> None:
        self._pristine = self._remembered = Snapshot(read_tree(self.path))


def _private_layouts(project: TestProject | None, tmp_path: Path) -> list[tuple[Layout, Layout | None]]:
    """Return the sandbox's layouts, each with the original's: same names, same packages, private places."""
    if project is None:
        return [(Layout(path=tmp_path / "plugins", package="plugins"), None)]
    private: list[tuple[Layout, Layout | None]] = []
    for number, layout in enumerate(project.layouts):
        taken = {other.path for other, _ in private}
        path = tmp_path / layout.path.name
        if path in taken:
            path = tmp_path / f"{layout.path.name}-{number}"
        private.append((replace(layout, path=path, beside=layout.path), layout))
    return private


def _depends_on(found: Found) -> list[str]:
    """Return what the original's manifest asks for; a broken manifest is reported by the load."""
    for name in found.layout.manifest:
        path = found.path / name
        if path.is_file():
            try:
                table = msgspec.json.decode(path.read_bytes())
            except (msgspec.DecodeError, UnicodeDecodeError):
                return []
            used = table.get("depends_on", []) if isinstance(table, dict) else []
            return [name for name in used if isinstance(name, str)] if isinstance(used, list) else []
    return []


def _mirror_builtins(generation: Generation) -> None:
    """Let `monkeypatch` and `mock.patch` on builtins reach the plugin and those that it uses."""
    generation.namespace.mirror_builtins()
    for used in generation.bound.values():
        used.namespace.mirror_builtins()


def _drop_made_up_packages(package: str, before: Mapping[str, ModuleType]) -> None:
    """Remove namespace packages that exist only because a sandboxed plugin needed a parent."""
    while package:
        module = sys.modules.get(package)
        children = any(name.startswith(package + ".") for name in list(sys.modules))
        if module is None or package in before or children or getattr(module, "__file__", None) is not None:
            return
        del sys.modules[package]
        parent, _, child = package.rpartition(".")
        if parent in sys.modules and vars(sys.modules[parent]).get(child) is module:
            delattr(sys.modules[parent], child)
        package = parent
