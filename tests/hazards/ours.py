"""PluginManager behind the scenarios' protocol.

Checks before calls are off, because a scenario says itself when to look. What is only ours, the
manager and what it reported, is there for the parts of a scenario that are about us alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_hotplug import KeptCurrent, Outcome, PluginManager, Reloaded, Unchanged
from pytest_hotplug.reloader.events import Event
from tests.hazards.adapter import (
    DETECTS,
    HOOKS,
    LOAD_STATE,
    STOP_FIRST,
    SWITCHES,
    TWO_MANAGERS,
    WATCHES,
    Said,
)
from tests.hazards.stage import Stage
from tests.threads import eventually


class Ours:
    """One manager that loads at once."""

    name = "pytest-hotplug"
    helps = frozenset({HOOKS, STOP_FIRST, LOAD_STATE})
    can = frozenset({DETECTS, SWITCHES, WATCHES, TWO_MANAGERS})
    init = ""

    def __init__(self) -> None:
        self.manager: PluginManager
        self.events: deque[Event] = deque(maxlen=100)  # the last ones: memory is measured with this adapter
        self.last: Outcome | None = None

    def open(self, plugins: Path, settings: Mapping[str, Any]) -> None:
        defaults = {"debounce": 0, "settle_max": 2.0, "load_timeout": 10, "retire_timeout": 1.0}
        self.manager = PluginManager(**{"plugin_dirs": [plugins], **defaults, **settings})
        self.manager.disable_hot_reload()
        self.manager.subscribe(self.events.append)

    def flat(self, plugin: str) -> None:
        """Nothing is needed."""

    def start(self, plugin: str) -> None:
        self.manager.load(plugin)

    def call(self, plugin: str, function: str, *args: Any) -> Any:
        return self.manager.call(plugin, function, *args)

    async def acall(self, plugin: str, function: str, *args: Any) -> Any:
        return await self.manager.acall(plugin, function, *args)

    def module(self, plugin: str) -> ModuleType:
        return self.manager.module(plugin, "main")

    def reload(self, plugin: str) -> Said:
        self.last = self.manager.reload(plugin)
        if isinstance(self.last, Reloaded):
            return "new"
        return "unchanged" if isinstance(self.last, Unchanged) else "refused"

    def close(self) -> None:
        self.manager.close()

    # -- ours alone ----------------------------------------------------------------------------

    @property
    def errors(self) -> list[str]:
        """Return the texts of all errors that were reported, in order."""
        return [event.message for event in self.events if event.kind == "error"]

    @property
    def loaded(self) -> list[tuple[str, int | None]]:
        """Return which generation of which plugin came to serve, in order."""
        return [(event.plugin, event.generation) for event in self.events if event.kind == "loaded"]

    def refusal(self) -> str:
        """Return what the last reload said against the new bytes, as `file:line  text [slug]`."""
        assert isinstance(self.last, KeptCurrent), self.last
        assert self.last.error is not None
        return str(self.last.error)

    def info(self, plugin: str = "plug") -> dict[str, Any]:
        return self.manager.get_plugin_hot_info(plugin)


def ours(stage: Stage) -> Ours:
    """Return our own adapter, for what is promised of us alone."""
    assert isinstance(stage.reloader, Ours)
    return stage.reloader


def reported(stage: Stage, *words: str) -> str:
    """Wait until an error was reported that holds all of these words, and return it."""
    mine = ours(stage)

    def found() -> str:
        return next((text for text in mine.errors if all(word in text for word in words)), "")

    try:
        return str(eventually(found, f"a report with {words}", 3.0))
    except AssertionError as error:
        raise AssertionError(f"{error}; reported were {mine.errors}") from None
