"""A project of plugins whose tests use the sandbox, and a `pytest --hotplug-watch` over it.

Three files may be edited, each with one small consequence: a plugin, a source that one test file
imports, a test file. For `watch_speed` only.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # seconds until an event that doesn't come is given up

_MAIN = """\
ANSWER = {value}


def run(number=0):
    return ANSWER + number
"""
_TESTS = """\
import pytest


@pytest.mark.parametrize("number", range({tests}))
def test_it_adds(hotplug, number):
    plugin = hotplug.load()
    assert plugin.execute(number=number) - plugin.execute() == number  # {value}
"""
_USER = """\
from library.words import word


def test_the_word():
    assert word()
"""


class WatchedProject:
    """The files: `plugins` plugins of `tests` tests each, and a package with a test beside them."""

    def __init__(self, root: Path, plugins: int, tests: int) -> None:
        self.root = root
        self._tests = tests
        for number in range(plugins):
            place = root / "plugins" / f"plugin_{number:02}"
            place.mkdir(parents=True)
            (place / "plugin.json").write_text(json.dumps({"name": place.name}))
            (place / "main.py").write_text(_MAIN.format(value=number))
            (place / f"test_{place.name}.py").write_text(_TESTS.format(tests=tests, value=0))
        for directory in ("library", "tests"):
            (root / directory).mkdir()
        (root / "library" / "__init__.py").touch()
        (root / "tests" / "test_words.py").write_text(_USER)
        (root / "pyproject.toml").write_text(
            '[tool.hotplug]\nplugin_dirs = ["plugins"]\n\n[tool.pytest.ini_options]\npythonpath = ["."]\n'
        )
        self.edit("source", 0)

    def edit(self, kind: str, value: int) -> None:
        """Save a file with another content, as editors do: beside, then renamed."""
        plugin = self.root / "plugins" / "plugin_00"
        path, text = {
            "plugin": (plugin / "main.py", _MAIN.format(value=value)),
            "source": (self.root / "library" / "words.py", f"def word():\n    return 'word {value}'\n"),
            "test": (plugin / "test_plugin_00.py", _TESTS.format(tests=self._tests, value=value)),
        }[kind]
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        beside.replace(path)


class Watch:
    """`pytest --hotplug-watch` over a project, read through its events."""

    def __init__(self, project: WatchedProject, *arguments: str, cold: bool) -> None:
        environment = {**os.environ, "HOTPLUG_WATCH_COLD": "1" if cold else ""}
        self._cold = cold
        self.levels: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "--hotplug-watch", "--hotplug-events=-", *arguments],
            cwd=project.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._armed = False
        self.until("verdict")

    def _read(self) -> None:
        assert self._process.stdout is not None, "it is started with a pipe"
        for line in self._process.stdout:
            self._events.put(json.loads(line))

    def until(self, kind: str) -> dict[str, Any]:
        """Return the next event of a kind; raises queue.Empty when it doesn't come."""
        while True:
            event = self._events.get(timeout=PATIENCE)
            if event["event"] == "run":
                self.levels.append(event["level"])
                self._armed = self._armed and event["level"] == "collected"
            self._armed |= event["event"] == "armed"
            if event["event"] == kind:
                return event

    def rest(self) -> None:
        """Wait until nothing is being prepared any more."""
        if not self._cold and not self._armed:
            self.until("armed")
        time.sleep(0.15)  # what is quiet for the watch's own clean-up, too

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
