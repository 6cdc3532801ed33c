"""Try in a child process what a build will load, where the settings ask for it.

Decides which bytes take part, and what the answer means for the build. Starting the child is for
`preflight`. Must not be called while the transaction guard is held.
"""

from __future__ import annotations

from pytest_hotplug.reloader.build import Build, Parts
from pytest_hotplug.reloader.dependencies import dependents_of
from pytest_hotplug.reloader.fingerprint import Unsettled
from pytest_hotplug.reloader.loader import manifest_of
from pytest_hotplug.reloader.preflight import fault_of, try_snapshots

__all__ = ["is_wanted", "try_build"]


def is_wanted(parts: Parts) -> bool:
    """Tell whether a child process loads versions first; a sandbox's see what a test patched in this one."""
    return parts.settings.preflight == "child" and parts.loader.code_path is None


def try_build(parts: Parts, build: Build) -> None:
    """Load in a child process first what the build will load; raises PluginFault and Unsettled.

    The child gets the bytes: those that are new, and of what else takes part those that serve.
    """
    serving = parts.registry.serving
    affected = dependents_of(build.fresh, parts.registry.uses())
    if not build.from_disk and not _lacks_something(parts, build):
        return  # it served before
    names = {used for name in affected for used in parts.registry.with_dependencies(name)} | set(affected)
    bytes_of = {n: g.snapshot for n in names if (g := serving.get(n)) is not None} | build.fresh
    places = {name: (parts.slot_of(name).found, found) for name, found in bytes_of.items()}
    layouts = {slot.found.layout.path: slot.found.layout for slot in list(parts.registry.slots.values())}
    tried = try_snapshots(affected, places, parts.settings, [*layouts.values()], build.time_limit())
    parts.checker.tried = {**(parts.checker.tried or {}), **tried.digests}
    if tried.slug == "not-loaded":
        raise Unsettled(str(tried.fault))
    if (fault := fault_of(tried, parts.slot_of(affected[-1]).found)) is not None:
        raise fault


def _lacks_something(parts: Parts, build: Build) -> bool:
    """Tell whether older bytes need a plugin that doesn't serve: it will be loaded from disk."""
    manifests = (manifest_of(parts.slot_of(name).found, found) for name, found in build.fresh.items())
    return any(used not in parts.registry.serving for m in manifests for used in m.depends_on)
