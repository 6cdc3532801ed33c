"""How a plugin is used during its verification: what `hotplug.verify.probe` in its manifest says.

A table of `kwargs` and `expect` (a part of the answer), a list of such, or `"tests/probe.py:run"`, a function
that gets the plugin and the host, async or not. Without a probe a plugin is only loaded.
"""

from __future__ import annotations

import inspect
import runpy
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec

from pytest_hotplug.reloader.manager import PluginManager

__all__ = ["BadProbe", "Probe", "ProbedPlugin", "probe_of"]


_MOST_YIELDED = 1000  # of a generator; one that never ends is closed then


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
        self.used = 0  # how often anything of it was called

    def execute(self, **kwargs: Any) -> Any:
        """Call the entry; see `PluginManager.execute`."""
        self.used += 1
        return _drained(self._manager.execute(self.name, **kwargs))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call any function of the plugin; see `PluginManager.call`."""
        self.used += 1
        return _drained(self._manager.call(self.name, function, *args, **kwargs))

    async def aexecute(self, **kwargs: Any) -> Any:
        """Call the entry from a running event loop."""
        self.used += 1
        return await self._manager.aexecute(self.name, **kwargs)


Probe = Callable[[ProbedPlugin, Any], None]


def probe_of(said: Any, directory: Path) -> Probe | None:
    """Return what uses a plugin once, None when its manifest names nothing. Raises BadProbe."""
    if said is None:
        return None
    if isinstance(said, str):
        return _function(said, directory)
    if said == []:
        raise BadProbe("hotplug.verify.probe: an empty list calls nothing")
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
    if not name or not path.is_file() or not path.resolve().is_relative_to(directory.resolve()):
        raise BadProbe(f"hotplug.verify.probe: {said!r} names no function of a file, as 'tests/probe.py:run' does")
    function = _loaded(path, file).get(name)
    if not callable(function):
        raise BadProbe(f"hotplug.verify.probe: {file} has no function {name!r}")

    def probe(plugin: ProbedPlugin, host: Any) -> None:
        result = function(plugin, host)
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise BadProbe(f"hotplug.verify.probe: {said} is a generator, of which nothing is executed")
        if inspect.isawaitable(result):
            _run(_awaited(result))
        if not plugin.used:
            raise BadProbe(f"hotplug.verify.probe: {said} calls nothing of the plugin")

    return probe


def _loaded(path: Path, file: str) -> dict[str, Any]:
    """Execute a file, beside which its neighbours are found; raises BadProbe with what that raises."""
    sys.path.insert(0, str(path.parent))
    try:
        return runpy.run_path(str(path))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is: there is no probe
        raise BadProbe(f"hotplug.verify.probe: {file} can't be executed: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(str(path.parent))


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio  # 20 ms, and where it isn't imported nobody need look for its loops

    return asyncio.run(coroutine)


async def _awaited(result: Any) -> Any:
    return await result


def _drained(answer: Any) -> Any:
    """Return what a generator yields instead of the generator, of which nothing would be executed otherwise."""
    if inspect.isgenerator(answer):
        return list(islice(answer, _MOST_YIELDED))
    if inspect.isasyncgen(answer):
        return _run(_all_of(cast("AsyncGenerator[Any, Any]", answer)))
    return answer


async def _all_of(answer: AsyncGenerator[Any, Any]) -> list[Any]:
    items: list[Any] = []
    async for item in answer:
        items.append(item)
        if len(items) == _MOST_YIELDED:
            await answer.aclose()
            break
    return items


def _holds(answer: Any, wanted: Any) -> bool:
    """Tell whether an answer has everything that is wanted: of tables the named entries, else equality."""
    if isinstance(wanted, dict) and isinstance(answer, dict):
        return all(key in answer and _holds(answer[key], value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(answer, tuple):  # JSON has no tuples
        return list(answer) == wanted
    if isinstance(wanted, list) and isinstance(answer, (set, frozenset)):
        return len(answer) == len(wanted) and all(one in answer for one in wanted)
    return bool(answer == wanted)
