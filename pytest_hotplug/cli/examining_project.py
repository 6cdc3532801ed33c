"""Can the project's plugins be found, trusted and kept? Settings, names, permissions, directories that we write."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pytest_hotplug.cli.diagnosis import Finding, note, ok, problem, problem_from
from pytest_hotplug.cli.ondisk import find_on_disk, misnamed, nothing_found
from pytest_hotplug.cli.output import plain
from pytest_hotplug.cli.statedir import state_dir
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import PluginFault, UsageError, near
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled, settle
from pytest_hotplug.reloader.loader import manifest_of
from pytest_hotplug.reloader.settings import Project, unknown_variables
from pytest_hotplug.reloader.trust import check_trust, is_strict

__all__ = ["found_plugins", "permissions", "settings_in_force", "stale_bytecode", "writable_places"]

_OF_TRUST = ("untrusted", "escaping-link", "not-locked", "unreadable")


def settings_in_force(project: Project) -> Iterator[Finding]:
    """Tell the settings file, what differs from the defaults and where that comes from."""
    yield ok("settings", f"project {project.root}, {near(project.file) if project.file else 'no settings file'}")
    values = msgspec.to_builtins(project.settings)
    for name, origin in sorted(project.origins.items()):
        yield ok("setting", f"{name} = {plain(values[name])} (from {near(origin)})")
    for line in unknown_variables():
        yield note("variable", line.removesuffix(" [bad-setting]"))


def found_plugins(project: Project) -> tuple[Mapping[str, Found], list[Finding]]:
    """Return the plugins, and what is to be said of their names."""
    try:
        found = find_on_disk(project)
        left_out = [note("plugin names", line.removesuffix(" [invalid-name]")) for line in misnamed()]
    except UsageError as error:
        return {}, [problem_from("plugins", error, error.slug)]
    count = f"{len(found)} found" if found else nothing_found(project).removesuffix(" [no-plugins]")
    return found, [ok("plugins", count) if found else note("plugins", count), *left_out]


def permissions(found: Mapping[str, Found], project: Project) -> Iterator[Finding]:
    """Tell which plugins a load refuses for who may write them, and which it would with strict permissions."""
    for plugin in found.values():
        check = f"permissions of {plugin.name}"
        try:
            strict = is_strict(plugin, project.settings)
            yield from _refusals(check, plugin, project, strict)
        except (OSError, Unsettled) as error:
            yield note(check, f"not looked at: {error}")


def _refusals(check: str, plugin: Found, project: Project, strict: bool) -> Iterator[Finding]:
    settings = msgspec.structs.replace(project.settings, strict_permissions="on")
    try:
        snapshot = _settled(plugin, (), settings.digest)
        if ignored := manifest_of(plugin, snapshot).ignored:  # looked at as a load does
            snapshot = _settled(plugin, ignored, settings.digest)
        check_trust(plugin, snapshot, settings)
    except PluginFault as refused:
        for fault in refused.faults:
            if fault.slug not in _OF_TRUST:
                yield problem(f"plugin {plugin.name}", fault.message, fault.remedy, fault.slug)
            elif strict or fault.slug != "untrusted":
                yield problem(check, fault.message, fault.remedy, fault.slug)
            else:
                yield note(check, f"strict_permissions = on would refuse it: {fault.message}", fault.remedy)
    else:
        yield ok(check, "only who is trusted may write it")


def _settled(plugin: Found, ignore: Sequence[str], digest: Literal["md5", "blake2b"]) -> Snapshot:
    return settle(plugin.path, plugin=plugin.name, ignore=ignore, debounce=0.0, settle_max=2.0, digest=digest)


def writable_places(project: Project) -> Iterator[Finding]:
    """Tell whether versions and logs can be written; writes nothing."""
    yield _writable("state directory", state_dir(project), "state_dir", "state-unusable")
    if project.settings.log_dir == "-":
        yield ok("log directory", "logs go to stderr")
    else:
        logs = project.root / Path(project.settings.log_dir).expanduser()
        yield _writable("log directory", logs, "log_dir", "log-unwritable")


def _writable(check: str, place: Path, setting: str, slug: str) -> Finding:
    there = next(path for path in (place, *place.parents) if os.path.lexists(path))
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok(check, f"{near(place)} can be {'written' if there == place else 'made'}")
    why = "can't be written" if there.is_dir() else "is no directory"
    remedy = f"Mend its owner or mode, or set {setting} to another place."
    return problem(check, f"{near(place)}: {near(there)} {why}", remedy, slug)


def stale_bytecode(found: Mapping[str, Found]) -> Iterator[Finding]:
    """Tell of bytecode beside plugins, which nothing of ours reads or writes."""
    held = [name for name, plugin in found.items() if any(plugin.path.rglob("__pycache__"))]
    if held:
        yield note("bytecode", f"__pycache__ in {', '.join(held)}: harmless, plugins are compiled from their sources")
    else:
        yield ok("bytecode", "none beside the plugins")
