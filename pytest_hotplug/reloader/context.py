"""What a plugin gets to set itself up and to be undone: undo stack, threads, logger, host.

Also the host object, which is made once per process. Knows nothing of loading or swapping.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.loop_thread import LoopThread

__all__ = ["Context", "Host", "injectable_names"]

LOG = logging.getLogger("hotplug")


def injectable_names(host_parameter: str) -> frozenset[str]:
    """Return the parameter names that on_load, on_unload and entries are given without asking."""
    return frozenset({"context", "host", "bot", "app", host_parameter})


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
        return self._loop.run(made, "the host's factory") if inspect.iscoroutine(made) else made


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
        return self._loop.run(result, self.name) if inspect.iscoroutine(result) else result

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
