"""The bodies of the fixtures, imported when a test uses one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pytest_hotplug.default import PluginManager
from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.testing.sandbox import Hotplug

if TYPE_CHECKING:
    from pytest_hotplug.testing.session import HotplugSession

__all__ = ["real_manager", "sandbox"]


def sandbox(
    request: pytest.FixtureRequest, tmp_path: Path, host: Any, session: HotplugSession | None
) -> Iterator[Hotplug]:
    """Yield a sandbox with the marked plugins loaded; undo everything afterwards."""
    project = session.project if session else None
    with Hotplug(tmp_path, project, here=request.path, host=host) as hotplug:
        for marker in reversed(list(request.node.iter_markers("hotplug"))):
            for name in marker.args:
                hotplug.load(name)
        yield hotplug
        if session is not None:
            session.note_doubles(request.node, hotplug)


def real_manager(request: pytest.FixtureRequest, host: Any, session: HotplugSession | None) -> Iterator[PluginManager]:
    """Yield a manager over the configured plugin dirs; close it afterwards."""
    if session is None:
        raise UsageError(
            "no plugin dir is configured; set --hotplug-plugins or [tool.hotplug] plugin_dirs", "no-plugins"
        )
    settings = msgspec.structs.replace(session.project.settings, debounce=0.0, on_change="all-wait", retire_timeout=5.0)
    manager = PluginManager.from_settings(settings, session.project.root, session.project.layouts)
    if host is not None:
        manager._host.set(host)
    with manager:
        manager.discover()
        for layout in session.project.layouts:
            sys.audit("hotplug.resources", str(layout.path))  # the manager answers for whatever lies there
        yield manager
