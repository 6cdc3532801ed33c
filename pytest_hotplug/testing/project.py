"""The project under test: settings as pytest sees them, and where its plugins lie.

Option > pytest ini > environment > settings file > default. Reads files, imports no plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.reloader.discovery import Found, find_plugins
from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.settings import Layout, Settings, layouts, read_settings
from pytest_hotplug.testing.options import given_option

__all__ = ["TestProject", "find_test_project"]


@dataclass(frozen=True, slots=True)
class TestProject:
    """Root, settings and layouts of the project whose tests run."""

    __test__ = False

    root: Path
    settings: Settings
    layouts: tuple[Layout, ...]

    def plugins(self) -> Mapping[str, Found]:
        """Return every plugin on disk by name."""
        return find_plugins(self.layouts, self.settings.exclude)

    def plugin_of(self, path: Path) -> Found | None:
        """Return the plugin whose directory holds `path`."""
        for found in self.plugins().values():
            if path.is_relative_to(found.path) or path.is_relative_to(found.path.resolve()):
                return found
        return None


def find_test_project(config: pytest.Config) -> TestProject | None:
    """Return the project around pytest's rootdir, None when it has no plugin dir."""
    project = read_settings(config.rootpath, _overrides(config))
    places = tuple(layout for layout in layouts(project.settings, project.root) if layout.path.is_dir())
    return TestProject(project.root, project.settings, places) if places else None


def _overrides(config: pytest.Config) -> dict[str, Any]:
    """Return what options and ini say; relative directories count from where they were written."""
    found: dict[str, Any] = {}
    given = given_option(config, "hotplug_plugins")
    ini = config.getini("hotplug_plugins")
    for place in given or ():
        if not (config.invocation_params.dir / place).is_dir():
            raise UsageError(f"--hotplug-plugins={place}: there is no such directory", "no-such-directory")
    if given:
        found["plugin_dirs"] = tuple(str((config.invocation_params.dir / d).resolve()) for d in given)
    elif ini:
        found["plugin_dirs"] = tuple(str(config.rootpath / d) for d in ini)
    for name, setting in (("hotplug_poll", "poll_interval"), ("hotplug_debounce", "debounce")):
        value = given_option(config, name)
        value = config.getini(name) if value is None else value
        if value is not None and float(value) >= 0:
            found[setting] = float(value)
    if found.get("plugin_dirs"):
        found["dirs"] = ()
    return found
