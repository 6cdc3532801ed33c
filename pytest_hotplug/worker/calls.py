"""Calls that a worker has accepted: each is executed on the newest good version, and none is dropped.

Entries run on threads, `async` ones on the plugins' own event loop, so that many that wait hold up nobody;
never on the loop that speaks over the socket. A call that can't be taken is refused before it is
accepted. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_hotplug.reloader.asking import CALL, asking
from pytest_hotplug.reloader.errors import HotplugError, fault_from
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.waiting import Bell
from pytest_hotplug.worker.results import jsonable

if TYPE_CHECKING:
    from pytest_hotplug.default import PluginManager
    from pytest_hotplug.worker.metrics import Metrics

__all__ = ["Answer", "Busy", "Calls", "EntryRaised", "Running"]

LOG = logging.getLogger("hotplug")
_ANSWERS: ContextVar[list[Generation] | None] = ContextVar("hotplug_answers", default=None)


class Busy(HotplugError):
    """The worker takes no more calls, for now or because it ends; nothing of this one was executed."""


class EntryRaised(HotplugError):
    """The entry raised; the text is for its author, with the place in the plugin."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call returned, as JSON can hold it, and the generation that returned it.

    `refused` says why that isn't what lies on disk, where the newest was asked for.
    """

    plugin: str
    generation: int
    version: str
    digest: str
    result: Any
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A call that was accepted and has not ended; `since` is `time.time()`."""

    plugin: str
    since: float


class Calls:
    """The calls of one worker: at most `threads` at once (`async` ones apart), at most `most` accepted."""

    def __init__(self, manager: PluginManager, metrics: Metrics, *, threads: int, most: int) -> None:
        self._manager = manager
        self._metrics = metrics
        self._most = most
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hotplug-call")
        self._numbers = itertools.count(1)
        self._changed = Bell()  # guards _running and _takes
        self._running: dict[int, Running] = {}
        self._takes = True
        manager._before_call = _note_answering

    async def execute(self, name: str, parameters: Mapping[str, Any], *, newest: bool = False) -> Answer:
        """Execute a plugin's entry and return its answer; `newest` waits for an edit that lies on disk.

        Raises Busy, EntryRaised, and what PluginManager.execute raises.
        """
        with self._accepted(name):
            refused = await self._on_thread(self._bring_up_to_date, name) if newest else ""
            if self._is_async(name):
                begun = self._manager._loop.begin(self._awaited(name, parameters), name)
                answer, error = await asyncio.wrap_future(begun)
                if error is not None:
                    raise self._raised(name, error, [])
            else:
                answer = await self._on_thread(self._called, name, parameters)
            assert isinstance(answer, Answer), "both ways end with an answer or raise"
            return replace(answer, refused=refused)

    def running(self) -> list[Running]:
        """Return the calls that have not ended, the oldest first."""
        with self._changed.lock:
            return sorted(self._running.values(), key=lambda call: call.since)

    def take_no_more(self) -> None:
        """Refuse calls from now on; those that were accepted go on."""
        with self._changed.lock:
            self._takes = False

    def wait_until_ended(self, timeout: float) -> bool:
        """Wait until no accepted call runs; False after `timeout` seconds."""
        return self._changed.wait_for(lambda: not self._running, timeout)

    def close(self) -> None:
        """End the threads that have nothing to do."""
        self._pool.shutdown(wait=False)

    # -- one call -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _accepted(self, name: str) -> Iterator[None]:
        number = next(self._numbers)
        with self._changed.lock:
            if not self._takes:
                raise Busy(f"{name}: not executed, the worker is stopping; ask another one [worker-stopping]")
            if len(self._running) >= self._most:
                raise Busy(f"{name}: not executed, {self._most} calls are waiting; try again later [worker-busy]")
            self._running[number] = Running(name, time.time())
        try:
            with self._metrics.call(name):
                yield
        finally:
            with self._changed.lock:
                del self._running[number]
                self._changed.ring()

    async def _on_thread(self, work: Any, *given: Any) -> Any:
        """Run on a thread of ours to the end, also when whoever asked no longer listens."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._pool, work, *given))

    def _bring_up_to_date(self, name: str) -> str:
        """Take up what lies on disk, and return why it was refused, if it was."""
        info = self._manager.get_plugin_hot_info(name)
        if not info["has_updates"] or info["state"] == "paused" or not self._manager.hot_reload_enabled:
            return ""
        with asking(CALL):
            error = self._manager.reload(name).error
        return "" if error is None else str(error)

    def _is_async(self, name: str) -> bool:
        serving = self._manager._registry.serving.get(name)
        entry = serving.entry if serving is not None else None
        return entry is not None and inspect.iscoroutinefunction(entry.function)

    def _called(self, name: str, parameters: Mapping[str, Any]) -> Answer:
        answering: list[Generation] = []
        token = _ANSWERS.set(answering)
        try:
            return _answer(name, answering, self._manager.execute(name, **parameters))
        except HotplugError:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever an entry raises is told to its author
            raised = self._raised(name, error, answering)
        finally:
            _ANSWERS.reset(token)
        raise raised  # out here: it must not carry the frames of the plugin's generation

    async def _awaited(self, name: str, parameters: Mapping[str, Any]) -> Answer:
        answering: list[Generation] = []
        _ANSWERS.set(answering)  # of this task alone
        try:
            return _answer(name, answering, await self._manager.aexecute(name, **parameters))
        except (HotplugError, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001  # as above
            raised = self._raised(name, error, answering)
        raise raised

    def _raised(self, name: str, error: BaseException, answering: list[Generation]) -> EntryRaised:
        if answering:
            root, files = answering[-1].namespace.path, answering[-1].snapshot.files
        else:
            root, files = self._manager._slot(name).found.path, {}
        fault = fault_from(error, plugin=name, root=root, files=files, doing="execution")
        text = fault.render(f"{name}: the entry raised.")
        LOG.error("hotplug.call_failed", extra={"plugin": name, "slug": fault.slug, "text": text})
        return EntryRaised(text)


def _note_answering(generation: Generation) -> None:
    answering = _ANSWERS.get()
    if answering is not None:
        answering.append(generation)


def _answer(name: str, answering: list[Generation], result: Any) -> Answer:
    generation = answering[0]  # the first: a plugin that calls another one leases that later
    return Answer(name, generation.number, generation.version, generation.digest, jsonable(result))
