"""What a child is told: which scenario to play, with which plugin."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pytest_hotplug.reloader.settings import Layout, Settings

__all__ = ["Order", "Scenario"]

Scenario = Literal["cycle", "memory", "edits", "calls", "upgrade"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which scenario to play with which plugin; everything lies in copies that may be edited.

    `deployed` holds, for each layout, the plugins as they are at `ref`. `probe` says how the plugin is used
    whatever its manifest says. `checks` are the ids of those that are asked.
    """

    scenario: Scenario
    plugin: str
    settings: Settings
    root: str
    layouts: tuple[Layout, ...]
    checks: tuple[str, ...]
    reloads: int
    warm_ups: int = 0
    probe: Any = None
    deployed: str = ""
    ref: str = ""
