"""One pytest session in a project that has plugins.

Keeps collection from executing plugin code, lets tests import plugins directly (relative, public or
flat names) through the reloader's finder, and prints what people should know at the end. Registered
only when a plugin dir exists; everything that costs is made when it is first used.
"""

from __future__ import annotations

from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.testing.collection import CollectsPluginTests
from pytest_hotplug.testing.late_imports import LateImports
from pytest_hotplug.testing.roots import plugin_roots

if TYPE_CHECKING:
    from pytest_hotplug.reloader.manager import PluginManager
    from pytest_hotplug.testing.places import PluginRoot
    from pytest_hotplug.testing.project import TestProject
    from pytest_hotplug.testing.sandbox import Hotplug

__all__ = ["HotplugSession", "start_session"]


def start_session(config: pytest.Config) -> HotplugSession | None:
    """Register what a project with plugins needs; None when there is no plugin dir."""
    try:
        roots = plugin_roots(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    if not roots:
        return None
    session = HotplugSession(config, roots)
    config.pluginmanager.register(session, "hotplug-session")
    config.pluginmanager.register(CollectsPluginTests(roots), "hotplug-collection")
    return session


class HotplugSession:
    """The project, and the manager that answers direct imports of plugins by tests."""

    def __init__(self, config: pytest.Config, roots: list[PluginRoot]) -> None:
        self._config = config
        self._notes: dict[str, None] = {}
        self._late = LateImports(roots, lambda: self.imports)
        self._late.install()

    @cached_property
    def project(self) -> TestProject:
        """The whole settings; raises pytest.UsageError when they are bad."""
        from pytest_hotplug.testing.project import find_test_project

        try:
            project = find_test_project(self._config)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
        assert project is not None, "the session exists because a plugin dir does"
        return project

    @cached_property
    def imports(self) -> PluginManager:
        """The manager behind direct imports. It must not start anybody's bot: no on_load is called."""
        import msgspec

        from pytest_hotplug.default import PluginManager

        settings = msgspec.structs.replace(self.project.settings, debounce=0.0)
        manager = PluginManager.from_settings(settings, self.project.root, self.project.layouts, starts=False)
        manager.discover()
        return manager

    def enabled_plugins(self) -> list[str]:
        """Return the names of plugins whose manifest doesn't disable them."""
        return [name for name, found in self.project.plugins().items() if _enabled(found.path, found.layout.manifest)]

    def note_doubles(self, item: pytest.Item, hotplug: Hotplug) -> None:
        """Note when a test module holds objects of a plugin that the test also loaded in its sandbox."""
        module = getattr(item, "module", None)
        if not isinstance(module, ModuleType) or "imports" not in vars(self):
            return
        for name in hotplug._plugins:
            serving = self.imports._registry.serving.get(name)
            if serving is not None and any(serving.namespace.owns(home) for home in _homes(module)):
                self.note(
                    f"{item.nodeid.split('::')[0]} imports plugin {name!r} directly and also loads it through the "
                    "fixture: two copies of its code run side by side [plugin-imported-twice]"
                )

    def note(self, line: str) -> None:
        """Print a line at the end of the run, once."""
        self._notes[line] = None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._notes:
            terminalreporter.write_line(f"hotplug: {line}")

    def pytest_unconfigure(self) -> None:
        self._late.remove()
        if "imports" in vars(self):
            self.imports.close()


def _homes(module: ModuleType) -> set[str]:
    """Return the qualified names of the modules that a module's globals come from."""
    homes = set()
    for value in list(vars(module).values()):
        home: Any = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(home, str):
            homes.add(home)
    return homes


def _enabled(path: Any, manifests: tuple[str, ...]) -> bool:
    import msgspec

    for name in manifests:
        if (path / name).is_file():
            try:
                table = msgspec.json.decode((path / name).read_bytes())
            except (msgspec.DecodeError, UnicodeDecodeError):
                return True  # the load will say what is wrong with it
            return not (isinstance(table, dict) and table.get("enabled") is False)
    return True
