"""One pytest session in a project that has plugins.

Lets tests import plugins directly (relative, public or flat names) through the reloader's finder,
keeps collection from executing plugin code, and prints what people should know at the end.
Registered only when a plugin dir exists.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pytest_hotplug.default import PluginManager
from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.testing.collection import CollectsPluginTests, PluginRoot
from pytest_hotplug.testing.project import TestProject, find_test_project

if TYPE_CHECKING:
    from pytest_hotplug.testing.sandbox import Hotplug

__all__ = ["HotplugSession", "start_session"]


def start_session(config: pytest.Config, args: list[str]) -> HotplugSession | None:
    """Register what a project with plugins needs; None when there is no plugin dir."""
    try:
        project = find_test_project(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    if project is None:
        return None
    session = HotplugSession(project)
    config.pluginmanager.register(session, "hotplug-session")
    roots = [PluginRoot(layout.path, layout.package) for layout in project.layouts]
    config.pluginmanager.register(CollectsPluginTests(roots), "hotplug-collection")
    return session


class HotplugSession:
    """The project, and the manager that answers direct imports of plugins by tests."""

    def __init__(self, project: TestProject) -> None:
        self.project = project
        settings = msgspec.structs.replace(project.settings, debounce=0.0)
        # Imports must not start anybody's bot: modules are loaded, no on_load is called.
        self.imports = PluginManager.from_settings(settings, project.root, project.layouts, starts=False)
        self._notes: dict[str, None] = {}
        self.imports.discover()

    def enabled_plugins(self) -> list[str]:
        """Return the names of plugins whose manifest doesn't disable them."""
        return [name for name, found in self.project.plugins().items() if _enabled(found.path, found.layout.manifest)]

    def note_doubles(self, item: pytest.Item, hotplug: Hotplug) -> None:
        """Note when a test module holds objects of a plugin that the test also loaded in its sandbox."""
        module = getattr(item, "module", None)
        if not isinstance(module, ModuleType):
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
    for name in manifests:
        if (path / name).is_file():
            try:
                table = msgspec.json.decode((path / name).read_bytes())
            except (msgspec.DecodeError, UnicodeDecodeError):
                return True  # the load will say what is wrong with it
            return not (isinstance(table, dict) and table.get("enabled") is False)
    return True
