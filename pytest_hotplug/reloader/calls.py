"""Run a plugin's functions on a generation that the caller has leased.

Arguments are checked and completed before; async functions run to their end on the manager's loop
thread, or are awaited by `aexecute`. Knows nothing of how the generation came to serve.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pytest_hotplug.reloader.errors import UsageError, did_you_mean
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.leases import Lease, Leases
from pytest_hotplug.reloader.loader import Loader
from pytest_hotplug.reloader.loop_thread import LoopThread
from pytest_hotplug.reloader.parameters import complete

__all__ = ["Calls", "Prepared"]

Prepared = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]


class Calls:
    """How one manager calls into generations."""

    def __init__(self, leases: Leases, loader: Loader, loop: LoopThread) -> None:
        self._leases = leases
        self._loader = loader
        self._loop = loop

    def entry(self, generation: Generation, given: Mapping[str, Any]) -> Prepared:
        """Return the entry and its complete arguments; raises ParameterError, UsageError `[no-entry]`."""
        entry = generation.entry
        if entry is None:
            message = f"{generation.name} has no entry; call one of its functions with call()"
            raise UsageError(message, "no-entry")
        declared, required = generation.manifest.parameters, entry.required - entry.injected
        arguments = complete(generation.name, given, declared, entry.accepted, required)
        if entry.injected:
            arguments = {**self._loader.injected(generation, entry), **arguments}
        return entry.function, (), arguments

    def function(self, generation: Generation, name: str) -> Callable[..., Any]:
        """Return a function by `name` in the entry module, or by `module.name`.

        Raises UsageError `[unknown-function]`.
        """
        namespace = generation.namespace
        module, _, attribute = name.replace(":", ".").rpartition(".")
        if not module:
            entry = generation.manifest.entry_point.replace(":", ".").rpartition(".")[0]
            module = entry or "__init__"
        inside = "" if module == "__init__" else module
        if not namespace.has(inside):
            near = did_you_mean(inside, namespace.relative_names())
            raise UsageError(f"{generation.name} has no module {inside!r}{near}", "unknown-function")
        home = namespace.load(namespace.full_name(inside))
        function = getattr(home, attribute, None)
        if not callable(function):
            near = did_you_mean(attribute, [n for n in vars(home) if not n.startswith("_")])
            raise UsageError(f"{generation.name} has no function {name!r}{near}", "unknown-function")
        return function  # type: ignore[no-any-return]

    def run(self, lease: Lease, prepared: Prepared, *, verb: str) -> Any:
        """Call on a leased generation; an async function is run to its end on the loop thread."""
        function, args, kwargs = prepared
        if not inspect.iscoroutinefunction(function):
            return self._leases.call(lease, function, *args, **kwargs)
        if _inside_running_loop():
            self._leases.give_back(lease)
            raise UsageError(f"{lease.generation.name}: the function is async; await manager.a{verb}(...)", "use-await")
        name = lease.generation.name
        work = self._leases.call(lease, function, *args, **kwargs)
        self._leases.moved(lease)  # this thread waits for it; from its first step on it is the loop's
        return self._loop.run(work, name)

    async def arun(self, lease: Lease, prepared: Prepared) -> Any:
        """Await an async function on the running loop; run any other one in a thread."""
        import asyncio

        function, args, kwargs = prepared
        self._loop.know(asyncio.get_running_loop())
        if inspect.iscoroutinefunction(function):
            return await self._leases.call(lease, function, *args, **kwargs)
        box = [lease]  # whoever takes it out ends it: the thread, or we when the thread never began

        def work() -> Any:
            mine = _take_out(box)
            if mine is None:
                return None
            self._leases.moved(mine)
            return self._leases.call(mine, function, *args, **kwargs)

        try:
            return await asyncio.to_thread(work)
        finally:
            left = _take_out(box)
            if left is not None:
                self._leases.give_back(left)


def _take_out(box: list[Lease]) -> Lease | None:
    """Take the one lease out in one step, None when somebody did."""
    try:
        return box.pop()
    except IndexError:
        return None


def _inside_running_loop() -> bool:
    """Tell whether this thread runs an event loop; without asyncio imported it can't."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
