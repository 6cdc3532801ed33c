"""Plugins as they lie on disk: manifest and digest, nothing executed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from pytest_hotplug.cli.output import emit_json, say
from pytest_hotplug.reloader.discovery import Found, find_misnamed, find_plugins
from pytest_hotplug.reloader.errors import HotplugError, InvalidPluginName, PluginFault, UnknownPlugin, visible
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled, settle
from pytest_hotplug.reloader.loader import manifest_of
from pytest_hotplug.reloader.manifest import Manifest
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.reloader.settings import Project, layouts, read_settings

__all__ = [
    "PluginOnDisk",
    "complete_plugin",
    "find_on_disk",
    "misnamed",
    "nothing_found",
    "plugin_argument",
    "plugins_on_disk",
    "read_plugin",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class PluginOnDisk:
    """What can be said of a plugin without loading it; `problem` is the fault of its manifest."""

    found: Found
    digest: str = ""
    manifest: Manifest = field(default_factory=Manifest)
    problem: str = ""

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def version(self) -> str:
        return self.manifest.version if not self.problem else ""

    @property
    def state(self) -> str:
        if self.problem:
            return "failed"
        return "not-loaded" if self.manifest.enabled else "disabled"

    def facts(self) -> dict[str, Any]:
        """Return everything as plain data."""
        manifest = self.manifest
        return {
            "name": self.name,
            "version": self.version,
            "description": manifest.description,
            "state": self.state,
            "loaded": False,
            "digest": self.digest,
            "entry_point": manifest.entry_point,
            "depends_on": list(manifest.depends_on),
            "parameters": {name: parameter.type for name, parameter in manifest.parameters.items()},
            "path": str(self.found.path),
            "error": self.problem or None,
        }


def find_on_disk(project: Project | None = None) -> dict[str, Found]:
    """Return the project's plugins by name."""
    project = project or read_settings()
    return dict(find_plugins(layouts(project.settings, project.root), project.settings.exclude))


def misnamed() -> list[str]:
    """Return a line for each directory that would be a plugin if its name allowed it."""
    project = read_settings()
    paths = find_misnamed(layouts(project.settings, project.root), project.settings.exclude)
    return [f"{visible(str(path))} is left out: {InvalidPluginName(path.name)}" for path in paths]


def plugins_on_disk(names: Sequence[str] = ()) -> list[PluginOnDisk]:
    """Return these plugins (none named: all); raises UnknownPlugin."""
    found = find_on_disk()
    for name in names:
        if name not in found:
            raise (UnknownPlugin if is_plugin_name(name) else InvalidPluginName)(name, found)
    return [read_plugin(found[name]) for name in (names or found)]


def read_plugin(found: Found) -> PluginOnDisk:
    """Read one plugin, with the digest that its loaded version has."""
    snapshot = None
    try:
        snapshot = _settled(found)
        manifest = manifest_of(found, snapshot)
        if manifest.ignored:
            snapshot = _settled(found, manifest.ignored)
    except PluginFault as fault:
        return PluginOnDisk(found, snapshot.digest if snapshot else "", problem=str(fault))
    except Unsettled as error:
        return PluginOnDisk(found, problem=f"{error} [not-loaded]")
    return PluginOnDisk(found, snapshot.digest, manifest)


def _settled(found: Found, ignore: Sequence[str] = ()) -> Snapshot:
    digest = read_settings().settings.digest
    return settle(found.path, plugin=found.name, ignore=ignore, debounce=0.0, settle_max=2.0, digest=digest)


def nothing_found(project: Project | None = None) -> str:
    """Return what to say when there are no plugins: where we looked, and what to do."""
    project = project or read_settings()
    places = ", ".join(visible(str(layout.path)) for layout in layouts(project.settings, project.root))
    if not places:
        return "no plugin dir is configured: 'plugin_dirs' is empty; name a directory there [no-plugins]"
    return f"no plugins in {places}; 'hotplug init NAME' makes one, 'plugin_dirs' names other places [no-plugins]"


def end_without_plugins(as_json: bool) -> int:
    """Say that there are no plugins, and return the exit code for it."""
    if as_json:
        emit_json({"error": nothing_found(), "exit_code": 5})
    else:
        say(f"hotplug: {nothing_found()}", err=True)
    return 5


def plugin_argument(name: str, **options: Any) -> Callable[[F], F]:
    """Add an argument that a shell completes with the project's plugins."""
    return click.argument(name, shell_complete=complete_plugin, **options)


def complete_plugin(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the plugins whose names begin so."""
    try:
        return [plugin for plugin in find_on_disk() if plugin.startswith(incomplete)]
    except HotplugError:  # in the middle of a command line there is nobody to tell
        return []
