"""What runs here? User, Python, installed distributions, and the workers of the state directory."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from pytest_hotplug import __version__
from pytest_hotplug.cli.across import workers_or_none
from pytest_hotplug.cli.diagnosis import Finding, note, ok, problem
from pytest_hotplug.reloader.errors import HotplugError

__all__ = ["privileges", "running_workers", "versions", "worker_version"]


def privileges() -> Iterator[Finding]:
    """Tell whether plugins would run as root, and whether Python is told to write no bytecode."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        yield note("user", "runs as root: who can write a plugin is root", "Run workers as a user of their own.")
    else:
        yield ok("user", "plugins don't run as root")
    if sys.dont_write_bytecode:
        yield note("bytecode", "Python writes none (PYTHONDONTWRITEBYTECODE): starts are slower, reloads are not")


def versions() -> Iterator[Finding]:
    """Tell the versions of Python and of what is needed, and whether the extra `worker` is installed."""
    yield ok(
        "Python", f"{platform.python_version()} ({platform.python_implementation()}), pytest-hotplug {__version__}"
    )
    try:
        needed = [Requirement(line) for line in requires("pytest-hotplug") or ()]
    except PackageNotFoundError:
        yield note(
            "distributions", "pytest-hotplug is not installed, it runs from a checkout: versions are not compared"
        )
        return
    plain = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    yield from (_compared(requirement) for requirement in plain)
    extra = [r for r in needed if r not in plain and r.marker is not None and r.marker.evaluate({"extra": "worker"})]
    missing = [r.name for r in extra if not _installed(r.name)]
    if missing:
        remedy = "For hotplug start: pip install 'pytest-hotplug[worker]'"
        yield note("extra worker", f"not installed: {', '.join(missing)}", remedy)
    else:
        yield from (_compared(requirement) for requirement in extra)


def _compared(requirement: Requirement) -> Finding:
    found = _installed(requirement.name)
    if found and requirement.specifier.contains(found, prereleases=True):
        return ok("distribution", f"{requirement.name} {found}")
    text = f"{requirement.name} {found or 'is missing'}, where {requirement.specifier} is needed"
    return problem("distribution", text, f"Run: pip install '{requirement.name}{requirement.specifier}'", "outdated")


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def running_workers() -> Iterator[Finding]:
    """Ask each worker of the state directory for its version."""
    try:
        clients = workers_or_none()
        if not clients:
            yield ok("workers", "none runs")
        for client in clients:
            yield worker_version(client.name, str(client.get("/worker").facts["version"]))
    except HotplugError as error:
        yield note("workers", f"could not be asked: {error}")


def worker_version(name: str, theirs: str, ours: str = __version__) -> Finding:
    """Tell whether a worker runs the code of this command."""
    if theirs == ours:
        return ok("workers", f"{name} runs, version {theirs}")
    text = f"{name} runs version {theirs}, this command is {ours}"
    return problem("workers", text, f"Run: hotplug stop --worker {name}, and start it again.", "worker-differs")
