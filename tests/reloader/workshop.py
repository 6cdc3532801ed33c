"""A plugin dir under tmp_path and managers over it, for tests of the reloader.

Every test gets a plugin dir of its own name (`plugins_<n>`), so that no two tests share a public
name. Edits are atomic. What a manager leaves behind is looked for by `conftest.py`.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import PluginManager
from pytest_hotplug.reloader import looking
from tests.threads import PATIENCE, eventually

__all__ = ["PATIENCE", "Workshop", "eventually", "gate", "gates", "kinds", "let_age", "running"]

_numbers = itertools.count(1)


class Workshop:
    """One plugin dir, and the managers that a test makes over it."""

    def __init__(self, tmp_path: Path) -> None:
        self.package = f"plugins_{next(_numbers)}"
        self.root = tmp_path
        self.plugins = tmp_path / self.package
        self.plugins.mkdir()
        self._managers: list[PluginManager] = []

    def plugin(self, name: str, files: Mapping[str, str] | str, manifest: Any = None) -> Path:
        """Write a plugin; a text alone is its main.py, `manifest` becomes plugin.json (a str as it stands)."""
        for file, text in ({"main.py": files} if isinstance(files, str) else files).items():
            self.write(name, file, text)
        if manifest is not None:
            self.write(name, "plugin.json", manifest if isinstance(manifest, str) else json.dumps(manifest, indent=1))
        return self.plugins / name

    def write(self, name: str, file: str, text: str | bytes) -> Path:
        """Write one file in one step, as editors that save atomically do."""
        path = self.plugins / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(text.encode() if isinstance(text, str) else text)
        os.replace(beside, path)
        return path

    def manager(self, **settings: Any) -> PluginManager:
        """Make a manager over the plugin dir that loads at once (`debounce` 0); it is closed after the test."""
        settings = {"plugin_dirs": [self.plugins], "debounce": 0, "settle_max": 2.0, **settings}
        manager = PluginManager(**settings)
        self._managers.append(manager)
        return manager

    def public(self, name: str, module: str = "") -> str:
        """Return the qualified name of a plugin's module."""
        return ".".join(part for part in (self.package, name, module) if part)

    def close(self) -> None:
        for manager in self._managers:
            manager.close()
        self._managers.clear()


gates: dict[str, threading.Event] = {}  # where plugin code that a test wrote waits


@contextmanager
def gate(name: str) -> Iterator[tuple[str, threading.Event]]:
    """Give plugin code that waits, and the event that lets it go on; open at the latest at the end of the block."""
    gates[name] = opened = threading.Event()
    try:
        yield f"from {__name__} import gates\ngates[{name!r}].wait({2 * PATIENCE})\n", opened
    finally:
        opened.set()


def kinds(events: list[Any]) -> list[str]:
    """Return the kinds of events, in order."""
    return [event.kind for event in events]


@contextmanager
def running(*targets: Callable[[], Any]) -> Iterator[list[BaseException]]:
    """Run each target on a thread beside the block; afterwards all have ended. Yields what they raised."""
    errors: list[BaseException] = []

    def guarded(target: Callable[[], Any]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001  # the test looks at them
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        for thread in threads:
            thread.join(PATIENCE * 3)
        assert not any(thread.is_alive() for thread in threads), "a thread never ended"


def let_age(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until whatever happens to the files beside `place` shows in their times, which takes 2 s elsewhere."""
    monkeypatch.setattr(looking, "RACY_NS", 20_000_000)
    probe, newest = place.parent / "probe", time.time_ns()

    def clock_moved_on() -> bool:
        probe.touch()
        return probe.stat().st_mtime_ns - newest > 25_000_000

    eventually(clock_moved_on, "the file system's clock")
