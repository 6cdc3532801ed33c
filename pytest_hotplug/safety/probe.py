"""How a plugin is used during its verification: what `hotplug.verify.probe` in its manifest says.

A table of `kwargs` and `expect` (a part of the answer), a list of such, or `"tests/probe.py:run"`, a function
that gets the plugin and the host, async or not. Without a probe a plugin is only loaded.
"""

from __future__ import annotations

import asyncio
import inspect
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pytest_hotplug.reloader.manager import PluginManager

__all__ = ["BadProbe", "Probe", "ProbedPlugin", "probe_of"]


class BadProbe(Exception):
    """What the manifest says of the probe makes no sense; the text says why."""


class _Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kwargs: dict[str, Any] = {}
    expect: Any = msgspec.UNSET


class ProbedPlugin:
    """What a probe function gets: the plugin, executed as its callers do."""

    def __init__(self, manager: PluginManager, name: str) -> None:
        self._manager = manager
        self.name = name

    def execute(self, **kwargs: Any) -> Any:
        """Call the entry; see `PluginManager.execute`."""
        return self._manager.execute(self.name, **kwargs)

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call any function of the plugin; see `PluginManager.call`."""
        return self._manager.call(self.name, function, *args, **kwargs)

    async def aexecute(self, **kwargs: Any) -> Any:
        """Call the entry from a running event loop."""
        return await self._manager.aexecute(self.name, **kwargs)


Probe = Callable[[ProbedPlugin, Any], None]


def probe_of(said: Any, directory: Path) -> Probe | None:
    """Return what uses a plugin once, None when its manifest names nothing. Raises BadProbe."""
    if said is None:
        return None
    if isinstance(said, str):
        return _function(said, directory)
    try:
        calls = msgspec.convert(said if isinstance(said, list) else [said], list[_Call])
    except msgspec.ValidationError as error:
        raise BadProbe(f"hotplug.verify.probe: {error}") from None

    def probe(plugin: ProbedPlugin, host: Any) -> None:
        for call in calls:
            answer = plugin.execute(**call.kwargs)
            if call.expect is not msgspec.UNSET:
                assert _holds(answer, call.expect), f"{call.kwargs}: {answer!r} instead of {call.expect!r}"

    return probe


def _function(said: str, directory: Path) -> Probe:
    file, _, name = said.partition(":")
    path = directory / file
    if not name or not path.is_file():
        raise BadProbe(f"hotplug.verify.probe: {said!r} names no function of a file, as 'tests/probe.py:run' does")

    function = runpy.run_path(str(path)).get(name)
    if not callable(function):
        raise BadProbe(f"hotplug.verify.probe: {file} has no function {name!r}")

    def probe(plugin: ProbedPlugin, host: Any) -> None:
        result = function(plugin, host)
        if inspect.iscoroutine(result):
            asyncio.run(result)

    return probe


def _holds(answer: Any, wanted: Any) -> bool:
    """Tell whether an answer has everything that is wanted: of tables the named entries, else equality."""
    if isinstance(wanted, dict) and isinstance(answer, dict):
        return all(key in answer and _holds(answer[key], value) for key, value in wanted.items())
    return bool(answer == wanted)
