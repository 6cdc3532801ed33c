"""What a version needs before it may load: Python, installed distributions, other plugins.

A missing distribution is a fault from outside, told apart from broken code; one whose version
changed under the running process needs a restart, and is said so. Loads nothing.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.manifest import Manifest

__all__ = ["check_requirements", "dependents_of", "find_cycle"]

# The version of each distribution when a plugin first asked for it: code of that version may be imported by now.
_running: dict[str, str] = {}


def check_requirements(manifest: Manifest, *, plugin: str, path: Path) -> None:
    """Raise PluginFault when the Python version or an installed distribution doesn't fit."""
    faults: list[Fault | None] = [_fault_of_python(manifest.python, plugin, path)] if manifest.python else []
    faults += [_fault_of(text, plugin, path) for text in manifest.packages]
    found = [fault for fault in faults if fault is not None]
    if found:
        line = manifest.lines.get("dependencies")
        raise PluginFault(*(fault if fault.line else replace(fault, line=line) for fault in found))


def _fault_of_python(specifier: str, plugin: str, path: Path) -> Fault | None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    own = platform.python_version()
    try:
        fits = SpecifierSet(specifier).contains(own, prereleases=True)
    except InvalidSpecifier:
        return Fault(plugin, "bad-manifest", f"/python_version: {specifier!r} is no specifier", path)
    if fits:
        return None
    remedy = f"Run the worker on Python {specifier}."
    return Fault(plugin, "wrong-python", f"needs Python {specifier}, this is {own}", path, remedy=remedy)


def _fault_of(text: str, plugin: str, path: Path) -> Fault | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return Fault(
            plugin,
            "bad-manifest",
            f"/dependencies: {text!r} is no requirement ({error})".split("\n")[0],
            path,
        )
    try:
        wanted = requirement.marker is None or requirement.marker.evaluate()
    except Exception as error:  # noqa: BLE001  # markers compare whatever they are given
        message = f"/dependencies: the marker of {text!r} can't be evaluated ({error})"
        return Fault(plugin, "bad-manifest", message, path)
    if not wanted:
        return None
    installed = installed_version(requirement.name)
    if installed is None:
        return _missing(plugin, f"needs {text}, which is not installed", path, requirement.name, text)
    if not requirement.specifier.contains(installed, prereleases=True):
        return _missing(plugin, f"needs {text}, installed is {installed}", path, requirement.name, text)
    running = _running.setdefault(requirement.name, installed)
    if not requirement.specifier.contains(running, prereleases=True):
        message = f"needs {text}; {installed} is installed, but this process started with {running}"
        return Fault(plugin, "restart-needed", message, path, remedy="Restart the worker.", own_bytes=False)
    return None


def _missing(plugin: str, message: str, path: Path, name: str, requirement: str) -> Fault:
    remedy = f"Run: pip install '{requirement}'. It is tried again once that is installed."
    return Fault(plugin, "missing-distribution", message, path, remedy=remedy, own_bytes=False, needs=(name,))


def installed_version(distribution: str) -> str | None:
    """Return the installed version of a distribution, None when it isn't installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def dependents_of(names: Iterable[str], edges: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return everything that depends on `names`, directly or not, each after what it depends on.

    `edges` maps a plugin to those it uses.
    """
    affected = set(names)
    while grown := {user for user, uses in edges.items() if user not in affected and affected & set(uses)}:
        affected |= grown
    ordered: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in ordered or name in path:
            return
        for used in edges.get(name, ()):
            if used in affected:
                visit(used, (*path, name))
        ordered.append(name)

    for name in sorted(affected):
        visit(name, ())
    return tuple(ordered)


def find_cycle(start: str, edges: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return a path from `start` back to itself along `edges`, or an empty tuple."""
    pending: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while pending:
        path = pending.pop()
        for used in edges.get(path[-1], ()):
            if used == start:
                return (*path, start)
            if used not in seen:
                seen.add(used)
                pending.append((*path, used))
    return ()
