"""A plugin directory, and a watch over it that is always stopped, with both backends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from pytest_hotplug.watcher import Watching, watch
from tests.watcher.listening import Listener


class Begin(Protocol):
    def __call__(self, *roots: Path, **options: Any) -> Listener: ...


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A plugin directory with one plugin of one module."""
    root = tmp_path / "plugins"
    (root / "greeter").mkdir(parents=True)
    (root / "greeter" / "main.py").write_text("GREETING = 'hello'\n", encoding="utf-8")
    return root


@pytest.fixture
def watches() -> Iterator[list[Watching]]:
    """The watches a test began; afterwards they are stopped and none of their threads is left."""
    begun: list[Watching] = []
    yield begun
    for watching in begun:
        watching.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name == "hotplug-watch"] == []


@pytest.fixture(params=["events", "polling"])
def begin(request: pytest.FixtureRequest, watches: list[Watching]) -> Begin:
    """Begin an impatient watch with each backend in turn and return its listener."""
    backend: str = request.param

    def begin(*roots: Path, **options: Any) -> Listener:
        options = {"debounce": 0.02, **options}
        if backend == "polling":
            options = {"poll_interval": 0.02, **options}
        listener = Listener()
        watches.append(watch(roots, listener, **options))
        assert watches[-1].backend == backend
        return listener

    return begin
