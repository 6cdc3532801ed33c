"""A sandbox for one test: private copies of plugins, a manager of their own, everything undone.

The copies lie at `tmp_path/<plugin dir's name>/<plugin>` and keep their public names, so that
self-imports and `mock.patch` targets work. Edits are atomic; the reloader is the one that serves
in production.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from pytest_hotplug.default import PluginManager
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import InvalidPluginName, UnknownPlugin, UsageError
from pytest_hotplug.reloader.events import Event
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.testing.files import copy_plugin, write_tree
from pytest_hotplug.testing.heard import Heard
from pytest_hotplug.testing.originals import Originals
from pytest_hotplug.testing.private import drop_made_up_packages, packages_above, private_layouts
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.sandboxed import SandboxedPlugin, Snapshot, Step

__all__ = ["Hotplug", "SandboxedPlugin", "Snapshot", "Step"]

# Edits are atomic, so nothing has to settle; every call waits for the newest code.
_SETTINGS = {"debounce": 0.0, "on_change": "all-wait", "retire_timeout": 5.0, "host": ""}


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
        self._layouts = private_layouts(project, tmp_path)
        self._packages_before = packages_above(layout.package for layout, _ in self._layouts)
        self._plugins: dict[str, SandboxedPlugin] = {}
        self._originals = Originals()
        self._heard = Heard(self._originals)
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
        manager.subscribe(self._heard.hear)
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
        self._originals.told_briefly(lambda: self.manager.load(plugin.name))
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

    def _adopt(self, name: str, path: Path, original: Found | None) -> SandboxedPlugin:
        self._plugins[name] = plugin = SandboxedPlugin(name, path, original, self.manager, self._originals, self._heard)
        self.manager.discover()
        return plugin

    # -- events ---------------------------------------------------------------------------------

    @property
    def events(self) -> list[Event]:
        """Return what reloads did, in order: loaded, kept, error, unloaded.

        `retired` comes at its own time, when an old generation's last call ended: see `wait_for`.
        """
        return self._heard.lasting()

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
        return self._heard.wait_for(kind, name, timeout)

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
            drop_made_up_packages(layout.package, self._packages_before)

    def __enter__(self) -> Hotplug:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
