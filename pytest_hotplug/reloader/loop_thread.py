"""The event loop on which a plugin's `async` functions run when nobody awaits them, on a thread of its own.

Every plugin of a manager shares it, so none may end it: `stop()` and `close()` of the loop refuse, an
exit that a task raises is told, and one that is ended all the same is replaced; the calls that ran on
it fail. Knows nothing of plugins but their names.
"""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_hotplug.reloader.errors import UsageError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

__all__ = ["LoopThread"]

LOG = logging.getLogger("hotplug")
_RUNNING: ContextVar[str] = ContextVar("hotplug_running", default="a plugin")
PATIENCE = 5.0  # seconds that what still runs gets to end when the loop is stopped
_STOPPED = "the event loop of async plugins was ended under it; no plugin may stop or close a loop that others share"


class LoopThread:
    """An event loop on a daemon thread of its own, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _own
        self._own: _Loop | None = None
        self._others: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    def after_fork(self) -> None:
        """Forget, in a child process, the loop and the thread of the parent; the next use makes new ones."""
        self._lock = threading.Lock()
        self._own = None
        self._others = weakref.WeakSet()

    def know(self, loop: asyncio.AbstractEventLoop) -> None:
        """Remember a loop of the host on which plugins run, so that `cancel` finds their tasks."""
        self._others.add(loop)

    @property
    def known(self) -> bool:
        """Tell whether any loop is known on which a plugin may have tasks."""
        return self._own is not None or bool(self._others)

    def cancel(self, ours: Callable[[Mapping[str, Any]], bool]) -> None:
        """Cancel the tasks whose coroutine's globals are `ours`, on every loop that is known."""
        asyncio = sys.modules.get("asyncio")
        own = self._own
        for loop in {*self._others, *([own.loop] if own is not None else [])}:
            if asyncio is None or loop.is_closed():
                continue
            for task in asyncio.all_tasks(loop):
                frame = getattr(task.get_coro(), "cr_frame", None)
                if frame is not None and ours(frame.f_globals):
                    _on(loop, task.cancel)

    def run(self, work: Coroutine[Any, Any, Any], who: str) -> Any:
        """Run a coroutine of `who` to its end and return its result; call it from outside the loop only.

        Raises UsageError `[inside-loop]`, and `[loop-stopped]` when somebody ends the loop meanwhile.
        """
        own = self._own
        if own is not None and threading.current_thread() is own.thread:
            work.close()
            raise UsageError("an async plugin function was run from the manager's own loop; await it", "inside-loop")
        future = self.begin(work, who)
        result, error = future.result()
        if error is not None:
            raise error
        return result

    def begin(self, work: Coroutine[Any, Any, Any], who: str) -> Future[tuple[Any, BaseException | None]]:
        """Let a coroutine of `who` begin; the future gives its result, or the exit or interrupt that it raised."""
        while True:
            with self._lock:
                if self._own is None or self._own.is_over:
                    self._own = _Loop()
                own = self._own
            future = own.begin(work, who)
            if future is not None:
                return future

    def stop(self) -> None:
        """Cancel what still runs, stop the loop and join its thread, as far as that comes to an end."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            own.stop()


class _Loop:
    """One loop from its first work to its end."""

    def __init__(self) -> None:
        import asyncio

        self.loop = asyncio.new_event_loop()
        self._really_stop, self._really_close = self.loop.stop, self.loop.close
        self.loop.stop = self.loop.close = _refuse  # type: ignore[method-assign]
        self.is_over = False
        self._wanted = True
        self._lock = threading.Lock()  # guards is_over and _works
        self._works: dict[Future[Any], tuple[Coroutine[Any, Any, Any], str]] = {}
        self.thread = threading.Thread(target=self._serve, name="hotplug-loop", daemon=True)
        self.thread.start()

    def begin(self, work: Coroutine[Any, Any, Any], who: str) -> Future[tuple[Any, BaseException | None]] | None:
        """Let `work` begin on the loop, None when that is over."""
        import asyncio

        caught = _caught(work, who)
        with self._lock:
            if not self.is_over:
                try:
                    future = asyncio.run_coroutine_threadsafe(caught, self.loop)
                except RuntimeError:  # closed a moment ago; its thread notices in the next
                    self.is_over = True
                else:
                    self._works[future] = (work, who)
                    future.add_done_callback(lambda done: self._works.pop(done, None))
                    return future
        caught.close()
        return None

    def _serve(self) -> None:
        try:
            while self._wanted and not self.loop.is_closed():
                try:
                    self.loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:  # a task or a callback of some plugin; others go on
                    LOG.error("hotplug.loop_exit", extra={"text": f"a task of a plugin raised {type(error).__name__}"})
        except Exception:
            LOG.exception("hotplug.loop_broken")
        finally:
            self._end()

    def _end(self) -> None:
        """Let whoever waits for work on this loop know that it is over."""
        with self._lock:
            self.is_over = True
            works, self._works = self._works, {}
        for future, (work, who) in works.items():
            if future.done():
                continue
            if not self._wanted:
                future.cancel()
                continue
            LOG.error("hotplug.loop_stopped", extra={"plugin": who, "text": f"{who}: {_STOPPED} [loop-stopped]"})
            _close(work, who)
            future.set_exception(UsageError(f"{who}: {_STOPPED}", "loop-stopped"))
        if self._wanted:
            self._really_close()

    def stop(self) -> None:
        """Cancel what runs and end the thread; what doesn't end in time is left behind, and that is said."""
        from concurrent.futures import CancelledError

        cancelling = self.begin(_cancel_all(), "close()")
        if cancelling is not None:
            try:
                cancelling.result(PATIENCE)
            except (TimeoutError, CancelledError, UsageError) as error:
                LOG.warning("hotplug.loop_busy", extra={"text": f"async work of plugins does not end: {error!r}"})
        self._wanted = False
        _on(self.loop, self._really_stop)
        self.thread.join(PATIENCE)
        if not self.thread.is_alive():
            self._really_close()
        else:
            LOG.warning(
                "hotplug.loop_busy", extra={"text": "a plugin blocks the event loop; its thread is left behind"}
            )


def _refuse() -> NoReturn:
    """Stand in for `stop` and `close` of the loop."""
    said = f"{_RUNNING.get()}: the event loop is shared by all async plugins; return instead of ending it"
    raise UsageError(said, "loop-stopped")


def _close(work: Coroutine[Any, Any, Any], who: str) -> None:
    """End a coroutine whose loop is gone, so that what it holds is given back."""
    try:
        work.close()
    except Exception:
        LOG.exception("hotplug.close_failed", extra={"plugin": who})


async def _caught(work: Coroutine[Any, Any, Any], who: str) -> tuple[Any, BaseException | None]:
    """Await `work`; an exit or an interrupt of its own is handed back, for it would end the loop."""
    _RUNNING.set(who)  # of this task, and of those that it makes
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
