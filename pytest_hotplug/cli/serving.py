"""A manager for a command that loads plugins in its own process, as the project's settings say."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pytest_hotplug.reloader.settings import read_settings

if TYPE_CHECKING:
    from pytest_hotplug.default import PluginManager

__all__ = ["manager_of_project"]


def manager_of_project(
    *, keeps: Literal["on-disk", "read-only"], starts: bool = True, **settings: Any
) -> PluginManager:
    """Make a manager of the project's plugins, with `settings` changed; its `pythonpath` is importable from now on."""
    from pytest_hotplug.default import PluginManager

    project = read_settings()
    sys.path[:0] = [str((project.root / path).resolve()) for path in project.settings.pythonpath]
    changed = msgspec.structs.replace(project.settings, **settings)
    return PluginManager.from_settings(changed, project.root, starts=starts, keeps=keeps)
