"""Where plugins lie, found out cheaply: asked in every pytest run of everybody.

Reads options, ini, environment and the settings file. As long as nothing but plugin dirs is
configured, the full settings (and what they import) are not needed.
"""

from __future__ import annotations

import os

import pytest

from pytest_hotplug.reloader.project import default_package, find_project, plugin_dir_path, settings_table
from pytest_hotplug.testing.options import given_option
from pytest_hotplug.testing.places import PluginRoot

__all__ = ["plugin_roots"]


def plugin_roots(config: pytest.Config) -> list[PluginRoot]:
    """Return the configured plugin dirs that exist; raises UsageError `[bad-setting]`."""
    root, file = find_project(config.rootpath)
    table = (settings_table(file) if file else None) or {}
    named = table.get("plugin_dirs", ["plugins"])
    simple = table.keys() <= {"plugin_dirs"} and isinstance(named, list) and all(isinstance(d, str) for d in named)
    if not simple or _given_elsewhere(config):
        return _from_settings(config)
    places = ((text, plugin_dir_path(text, root)) for text in named)
    return [PluginRoot(path, default_package(text, path)) for text, path in places if path.is_dir()]


def _given_elsewhere(config: pytest.Config) -> bool:
    return bool(
        given_option(config, "hotplug_plugins")
        or config.getini("hotplug_plugins")
        or any(name.startswith("HOTPLUG_") for name in os.environ)
    )


def _from_settings(config: pytest.Config) -> list[PluginRoot]:
    from pytest_hotplug.reloader.discovery import signs_of_a_plugin
    from pytest_hotplug.testing.project import find_test_project

    project = find_test_project(config)
    places = project.layouts if project else ()
    return [PluginRoot(place.path, place.package, signs_of_a_plugin(place)) for place in places]
