"""Load one version of a plugin in a child process and tell what became of it.

The child imports the plugin (and what it depends on) as a worker would, and calls no on_load. A
child that hangs or dies is reported like any other fault.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.settings import read_settings

__all__ = ["preflight"]

MARGIN = 10.0  # seconds that the child gets beyond its own time limit, to start and to report


def preflight(found: Found, source: str | None = None, own_limit: float | None = None) -> dict[str, Any]:
    """Return `{"plugin", "ok", "version", "digest", "text", "slug"}` for a version (default: the one in place).

    `own_limit` is the manifest's load_timeout in seconds, if it has one.
    """
    limit = max(read_settings().settings.load_timeout, own_limit or 0.0) + MARGIN
    order = json.dumps({"plugin": found.name, "source": source and os.path.abspath(source)})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest_hotplug.cli.preflight"],
            input=order, capture_output=True, text=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _fault(found, f"the load did not end within {limit:g} s", "load-timeout")
    last = (done.stdout.strip().splitlines() or [""])[-1]
    try:
        told: dict[str, Any] = json.loads(last)
    except ValueError:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return _fault(found, f"loading it ended the process (exit code {done.returncode}): {said}", "process-ended")
    return told


def _fault(found: Found, message: str, slug: str) -> dict[str, Any]:
    text = f"{found.name}: {message}.\n  Keep long work, exits and forks out of import. [{slug}]"
    return _result(found.name, slug=slug, text=text)


def _result(
    plugin: str, *, version: str | None = None, digest: str | None = None, slug: str = "", text: str,
    warnings: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return what became of one version; without a slug it loads."""
    return {
        "plugin": plugin,
        "ok": not slug,
        "version": version,
        "digest": digest,
        "slug": slug,
        "text": text,
        "warnings": list(warnings),
    }


def _child() -> int:
    """Load what the order on stdin names, and print the result as the last line of stdout."""
    from pytest_hotplug.default import PluginManager
    from pytest_hotplug.reloader.errors import HotplugError, PluginLoadError, visible

    order = json.loads(sys.stdin.read())
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what plugins print is not our answer
    project = read_settings()
    sys.path[:0] = [str((project.root / path).resolve()) for path in project.settings.pythonpath]
    name = order["plugin"]
    manager = PluginManager.from_settings(project.settings, project.root, starts=False)
    manager.discover()
    if order["source"]:
        slot = manager._slot(name)
        slot.found = Found(name, Path(order["source"]), slot.found.layout)
    try:
        generation = manager.load(name)
    except PluginLoadError as error:
        result = _result(name, slug=error.fault.slug, text=str(error))
    except HotplugError as error:
        result = _result(name, slug=str(error).rpartition("[")[2].rstrip("]"), text=str(error))
    else:
        version, digest = generation.version, generation.digest
        text = visible(f"{name}: version {version} loads ({digest[:12]})")
        warnings = generation.manifest.warnings
        result = _result(name, version=version, digest=digest, text=text, warnings=warnings)
    answers.write("\n" + json.dumps(result) + "\n")
    answers.flush()
    os._exit(0)  # a plugin's threads must not keep the child


if __name__ == "__main__":
    raise SystemExit(_child())
