"""What a process that has collected does before runs fork from it: work that each of them would repeat.

Nothing here may decide a verdict: what fails is left to the run that needs it.
"""

from __future__ import annotations

import gc
import linecache
import os
import tempfile
from pathlib import Path

from pytest_hotplug.reloader.code import compile_source
from pytest_hotplug.reloader.digests import hash_of
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.testing.project import TestProject

__all__ = ["freeze", "use_the_sandbox_once"]


def use_the_sandbox_once(project: TestProject) -> None:
    """Compile every plugin; copy one into a sandbox that is thrown away, and execute another, of our own, there."""
    import pytest_hotplug.testing.fixtures  # noqa: F401  # what the first test with a sandbox would import
    from pytest_hotplug.testing.sandbox import Hotplug

    plugins = project.plugins()
    for found in plugins.values():
        for directory, _, files in os.walk(found.path):
            for file in files:
                if file.endswith(".py"):
                    _compile(Path(directory, file))
    with tempfile.TemporaryDirectory() as directory, Hotplug(Path(directory), project) as hotplug:
        try:
            for name in [*plugins][:1]:
                hotplug.add(name)  # no code of the project's may run here: runs would inherit what it did
            hotplug.create("hotplug_warm_up", {"main.py": "def run():\n    pass\n"}, manifest={}).execute()
        except HotplugError:
            return  # settings under which such a plugin is refused: then the first run pays


def freeze() -> None:
    """Hide all that is there from the garbage collector: counting its marks would copy every page of a child."""
    linecache.clearcache()
    gc.collect()
    gc.freeze()


def _compile(path: Path) -> None:
    try:
        data = path.read_bytes()
        compile_source(data, str(path), hash_of(data))
    except (SyntaxError, OSError):
        return  # the test that needs it will say so
