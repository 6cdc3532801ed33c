"""Every test of the reloader gets a workshop, and must leave the process as it found it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reloader.workshop import Workshop, eventually


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    """A plugin dir of its own; afterwards its managers are closed, and no module or thread of theirs is left."""
    modules, path, finders = set(sys.modules), list(sys.path), len(sys.meta_path)
    shop = Workshop(tmp_path)
    yield shop
    shop.close()
    left = [name for name in set(sys.modules) - modules if name.split(".")[0] == shop.package]
    left += [name for name, module in list(sys.modules.items()) if "__hotplug_generation__" in vars(module)]
    assert left == [], "modules of plugins are left in sys.modules"
    assert sys.path == path
    assert len(sys.meta_path) <= finders + 1
    eventually(lambda: not _threads_of_ours(), f"the end of {_threads_of_ours()}")


def _threads_of_ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("hotplug-")]
