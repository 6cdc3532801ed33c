"""Hot reload for application plugins: one reloader for production, tests and CI.

This is the front door: the public names, each imported when it is first used, so that a program
that merely has the package installed pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_hotplug.default import get_hot_loader, plugin_manager
    from pytest_hotplug.reloader.asking import asking
    from pytest_hotplug.reloader.errors import (
        HotplugError,
        ParameterError,
        PluginDisabled,
        PluginLoadError,
        UnknownPlugin,
        UsageError,
    )
    from pytest_hotplug.reloader.events import Event
    from pytest_hotplug.reloader.generation import Generation
    from pytest_hotplug.reloader.manager import PluginManager
    from pytest_hotplug.reloader.outcomes import KeptCurrent, Outcome, Reloaded, Unchanged, Unloaded

__all__ = [
    "Event",
    "Generation",
    "HotplugError",
    "KeptCurrent",
    "Outcome",
    "ParameterError",
    "PluginDisabled",
    "PluginLoadError",
    "PluginManager",
    "Reloaded",
    "Unchanged",
    "UnknownPlugin",
    "Unloaded",
    "UsageError",
    "asking",
    "get_hot_loader",
    "plugin_manager",
]

__version__ = "0.1.0"

_HOMES = {
    "asking": ("asking",),
    "errors": (
        "HotplugError",
        "ParameterError",
        "PluginDisabled",
        "PluginLoadError",
        "UnknownPlugin",
        "UsageError",
    ),
    "events": ("Event",),
    "generation": ("Generation",),
    "outcomes": ("KeptCurrent", "Outcome", "Reloaded", "Unchanged", "Unloaded"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.reloader.{home}"), name)
    if name in ("PluginManager", "plugin_manager", "get_hot_loader"):
        return getattr(import_module(f"{__name__}.default"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
