"""A call that runs while versions change: it began on one version, and waits there until it is let go.

It is parked inside its lease, before the first line of the plugin's function, so that everything which it
does (lazy imports, reading its files) happens after the switch. No line of the plugin is changed.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_hotplug.reloader.manager import PluginManager
from pytest_hotplug.safety.probe import ProbedPlugin

__all__ = ["Call", "NotedPlugin", "Parked"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a probe called, and what it was answered; `function` is "" for the entry."""

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Any

    def is_like(self, other: Call) -> bool:
        """Tell whether the other is the same call with the same answer; things that can't be compared differ."""
        mine = (self.function, self.args, self.kwargs, self.answer)
        try:
            return bool(mine == (other.function, other.args, other.kwargs, other.answer))
        except Exception:  # noqa: BLE001 - whatever a plugin's objects do when they are compared
            return False


class NotedPlugin(ProbedPlugin):
    """What a probe gets, when it matters what it calls."""

    def __init__(self, manager: PluginManager, name: str) -> None:
        super().__init__(manager, name)
        self.calls: list[Call] = []

    def execute(self, **kwargs: Any) -> Any:
        """Call the entry; see `PluginManager.execute`."""
        return self._note("", (), kwargs, super().execute(**kwargs))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call any function of the plugin; see `PluginManager.call`."""
        return self._note(function, args, kwargs, super().call(function, *args, **kwargs))

    async def aexecute(self, **kwargs: Any) -> Any:
        """Call the entry from a running event loop."""
        return self._note("", (), kwargs, await super().aexecute(**kwargs))

    def _note(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> Any:
        self.calls.append(Call(function, args, kwargs, answer))
        return answer


class Parked:
    """One call, in a thread of its own, on the version that serves when this is made; it runs on once it is let go."""

    def __init__(self, manager: PluginManager, name: str, call: Call) -> None:
        self._manager = manager
        self._call = call
        self._entered, self._go = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.answer: Any = None
        lease = manager._newest.lease(manager._slot(name))
        self._thread = threading.Thread(target=self._run, args=(lease,), name="hotplug-parked", daemon=True)
        self._thread.start()
        self._entered.wait()

    def let_go(self, patience: float) -> bool:
        """Let it run on, and tell whether it came to its end within `patience` seconds."""
        self._go.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self, lease: Any) -> None:
        calls, call = self._manager._calls, self._call
        try:
            if call.function:
                function = self._manager._prepare(lease, calls.function, call.function)
                prepared = (self._waiting(function), call.args, call.kwargs)
            else:
                function, args, kwargs = self._manager._prepare(lease, calls.entry, call.kwargs)
                prepared = (self._waiting(function), args, dict(kwargs))
            self.answer = calls.run(lease, prepared, verb="execute")
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the caller would have got
            self.error = error
        finally:
            self._entered.set()

    def _waiting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a wait before its first line; an async one lets its loop run meanwhile."""
        entered, go = self._entered, self._go

        async def waits(*args: Any, **kwargs: Any) -> Any:
            import asyncio

            entered.set()
            await asyncio.to_thread(go.wait)
            return await function(*args, **kwargs)

        def stands(*args: Any, **kwargs: Any) -> Any:
            entered.set()
            go.wait()
            return function(*args, **kwargs)

        return waits if inspect.iscoroutinefunction(function) else stands
