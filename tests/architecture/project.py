"""Where the project lies, and a child process that knows it; shared by the tests of this directory.

A test that must not be influenced by what this process has imported asks a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "pytest_hotplug"
PYTEST_PLUGIN = "pytest_hotplug.testing.pytest_plugin"
FOREIGN = ("PYTEST_", "COV_", "COVERAGE_", "HOTPLUG_")
HEAVY = ["asyncio", "click", "coverage", "rich", "sqlite3", "watchfiles"]


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment with the project importable and no pytest or coverage settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    paths = [str(PROJECT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **changes}


def python(*arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in `cwd` with `arguments` and return what it said, whatever its exit code."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def ask(script: str, *arguments: str, cwd: Path, **changes: str) -> Any:
    """Run `script` in a fresh interpreter and return the JSON of its last output line."""
    done = python("-c", script, *arguments, cwd=cwd, **changes)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def plugin_is_installed() -> bool:
    """Tell whether pytest finds our plugin by its entry point (a bare checkout on the path has none)."""
    return any(point.value == PYTEST_PLUGIN for point in entry_points(group="pytest11"))
