"""A plugin dir of its own for every test, and a manager over it that is closed afterwards."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import PluginManager


class PluginDir:
    """A plugin dir, written to as people do: whole files, put in place by a rename."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.managers: list[PluginManager] = []

    def write(self, plugin: str, **files: str) -> Path:
        """Write files of a plugin; `main="..."` is main.py, `plugin_json="..."` plugin.json, `a__b` a/b.py."""
        for name, text in files.items():
            file = name.replace("_json", ".json") if name.endswith("_json") else name.replace("__", "/") + ".py"
            self.put(plugin, file, text)
        return self.path / plugin

    def put(self, plugin: str, file: str, text: str) -> None:
        """Write one file by its real name."""
        path = self.path / plugin / file
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        os.replace(beside, path)

    def manager(self, **settings: Any) -> PluginManager:
        """Make a manager that is closed with the test."""
        manager = PluginManager(**{"plugin_dirs": [self.path], "debounce": 0, **settings})
        self.managers.append(manager)
        return manager


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[PluginDir]:
    """Give a plugin dir; afterwards sys.modules and threads are as before."""
    modules, threads = set(sys.modules), set(threading.enumerate())
    found = PluginDir(tmp_path / "plugs")
    found.path.mkdir()
    yield found
    for manager in found.managers:
        manager.close()
    assert {name for name in set(sys.modules) - modules if name.startswith("plugs.")} == set()
    sys.modules.pop("plugs", None)
    left = set(threading.enumerate()) - threads
    assert not [thread for thread in left if thread.name.startswith("hotplug")]
