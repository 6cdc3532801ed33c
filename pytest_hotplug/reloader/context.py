"""What a plugin gets to set itself up and to be undone: undo stack, threads, logger, host.

Also the host object, which is made once per process, and the loop thread on which a plugin's
`async` functions run when nobody awaits them. Knows nothing of loading or swapping.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_hotplug.reloader.errors import UsageError

if TYPE_CHECKING:
    import asyncio

__all__ = ["Context", "Host", "LoopThread", "injectable_names"]

LOG = logging.getLogger("hotplug")


def injectable_names(host_parameter: str) -> frozenset[str]:
    """Return the parameter names that on_load, on_unload and entries are given without asking."""
    return frozenset({"context", "host", "bot", "app", host_parameter})


class LoopThread:
    """An event loop on a daemon thread of its own, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _loop and _thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._others: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    def after_fork(self) -> None:
        """Forget, in a child process, the loop and the thread of the parent; the next use makes new ones."""
        self._lock = threading.Lock()
        self._loop = self._thread = None
        self._others = weakref.WeakSet()

    def know(self, loop: asyncio.AbstractEventLoop) -> None:
        """Remember a loop of the host on which plugins run, so that `cancel` finds their tasks."""
        self._others.add(loop)

    @property
    def known(self) -> bool:
        """Tell whether any loop is known on which a plugin may have tasks."""
        return self._loop is not None or bool(self._others)

    def cancel(self, ours: Callable[[Mapping[str, Any]], bool]) -> None:
        """Cancel the tasks whose coroutine's globals are `ours`, on every loop that is known."""
        asyncio = sys.modules.get("asyncio")
        for loop in {*self._others, *([self._loop] if self._loop is not None else [])}:
            if asyncio is None or loop.is_closed():
                continue
            for task in asyncio.all_tasks(loop):
                frame = getattr(task.get_coro(), "cr_frame", None)
                if frame is not None and ours(frame.f_globals):
                    _on(loop, task.cancel)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end and return its result; call it from outside the loop only."""
        import asyncio

        if threading.current_thread() is self._thread:
            work.close()
            raise UsageError("an async plugin function was run from the manager's own loop; await it", "inside-loop")
        result, error = asyncio.run_coroutine_threadsafe(_caught(work), self._running()).result()
        if error is not None:
            raise error
        return result

    def _running(self) -> asyncio.AbstractEventLoop:
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="hotplug-loop", daemon=True)
                self._thread.start()
            return self._loop

    def stop(self) -> None:
        """Cancel what still runs, stop the loop and join its thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        import asyncio

        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _caught(work: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """Await `work`; an exit or an interrupt of its own is handed back, for it would end the loop."""
    try:
        return await work, None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error


def _on(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(work)
    except RuntimeError:  # it was closed a moment ago, and its tasks with it
        return


async def _cancel_all() -> None:
    import asyncio

    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Host:
    """The host object that plugins may ask for, made by `module:factory` at first use."""

    def __init__(self, factory: str, loop: LoopThread) -> None:
        self._factory = factory
        self._loop = loop
        self._lock = threading.Lock()  # guards _made and _object
        self._made = False
        self._object: Any = None

    def after_fork(self) -> None:
        """Start, in a child process, with a lock that no thread of the parent holds."""
        self._lock = threading.Lock()

    def set(self, host: Any) -> None:
        """Give plugins this object from now on."""
        with self._lock:
            self._object, self._made = host, True

    def get(self) -> Any:
        """Return the host object, None when no factory is set; raises UsageError `[bad-host]`."""
        with self._lock:
            if not self._made:
                self._object, self._made = self._make(), True
            return self._object

    def _make(self) -> Any:
        if not self._factory:
            return None
        module, _, name = self._factory.partition(":")
        try:
            factory = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UsageError(f"setting 'host' = {self._factory!r}: {error}", "bad-host") from None
        made = factory()
        return self._loop.run(made) if inspect.iscoroutine(made) else made


class Context:
    """What `on_load`, `on_unload` and entries receive as `context`.

    `name`, `version`, `generation` (its number) say who is running, `logger` is the plugin's own,
    `host` the host object, `stopping` an Event that is set when the generation retires.
    """

    def __init__(self, name: str, version: str, generation: int, host: Host, loop: LoopThread) -> None:
        self.name = name
        self.version = version
        self.generation = generation
        self.logger = logging.getLogger(f"hotplug.plugin.{name}")
        self.stopping = threading.Event()
        self._host = host
        self._loop = loop
        self._undo: list[Callable[[], Any]] = []
        self._threads: list[threading.Thread] = []

    @property
    def host(self) -> Any:
        return self._host.get()

    @property
    def busy(self) -> bool:
        """Tell whether there is anything to undo or to join."""
        return bool(self._undo or any(thread.is_alive() for thread in self._threads))

    def register(self, undo: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run `undo(*args, **kwargs)` when this generation unloads, the last registered first."""
        self._undo.append(lambda: undo(*args, **kwargs))

    def thread(self, target: Callable[..., Any], *args: Any, name: str = "", **kwargs: Any) -> threading.Thread:
        """Start a daemon thread that is joined at unload; `target` must end once `stopping` is set."""
        name = name or f"{self.name}-{getattr(target, '__name__', 'thread')}"
        thread = threading.Thread(target=target, args=args, kwargs=kwargs, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def run(self, result: Any) -> Any:
        """Return `result`, run to its end when a plugin's function turned out to be async."""
        return self._loop.run(result) if inspect.iscoroutine(result) else result

    @property
    def threads(self) -> Sequence[threading.Thread]:
        """Return the threads that were started through `thread`, except those known to have ended."""
        return tuple(self._threads)

    def undo(self) -> list[str]:
        """Undo everything that was registered, last first; return what went wrong, in words."""
        self.stopping.set()
        problems = []
        while self._undo:
            if said := self._undo_one(self._undo.pop()):
                problems.append(said)
        return problems

    def join(self, deadline: float) -> list[str]:
        """Join the threads until `deadline` (a `time.monotonic()`); return what went wrong, in words.

        A thread that ignores `stopping` is named and left: nothing is killed.
        """
        problems = []
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                problems.append(f"thread {thread.name!r} ignores context.stopping; it runs on in the old code")
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return problems

    def _undo_one(self, undo: Callable[[], Any]) -> str:
        try:
            self.run(undo())
        except BaseException as error:  # whatever it raises, the others must run
            LOG.exception("hotplug.undo_failed", extra={"plugin": self.name, "generation": self.generation})
            return f"an undo failed: {type(error).__name__}: {error}"
        return ""
