"""Running calls pin their generation; a generation retires when its last lease ends.

A lease lasts until the call returns; for a coroutine, generator or async generator that the call
returned, until that is finished, closed or collected. A generation that another one is bound to is
held by that one's life. Knows nothing of what retiring means.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextvars import ContextVar
from typing import Any

from pytest_hotplug.reloader.generation import Generation

__all__ = ["Leases", "calling"]

_CALLING: ContextVar[tuple[str, ...]] = ContextVar("hotplug_calling", default=())


def calling() -> tuple[str, ...]:
    """Return the plugins whose calls are under way on this thread or task, outermost first."""
    return _CALLING.get()


class _Hold:
    """Who holds one generation."""

    __slots__ = ("bindings", "calls", "when_idle")

    def __init__(self) -> None:
        self.calls = 0
        self.bindings = 0
        self.when_idle: Callable[[], None] | None = None


class Leases:
    """The holds of one manager's generations."""

    def __init__(self) -> None:
        self._holds: dict[Generation, _Hold] = {}
        self._gated: set[str] = set()
        # Guards _holds and _gated; also where calls wait at a gate and a gate waits for calls.
        self._changed = threading.Condition(threading.Lock())
        self._open_results: dict[weakref.finalize[..., Any], weakref.ref[Any]] = {}
        # A result may be collected anywhere, even in a thread that holds the lock above: what its
        # finalizer gives back waits here until the lock is free.
        self._collected: deque[Generation] = deque()

    def after_fork(self) -> None:
        """Start, in a child process, with a lock that no thread of the parent holds."""
        self._changed = threading.Condition(threading.Lock())

    def take(self, name: str, current: Callable[[], Generation | None], *, wait: bool = True) -> Generation | None:
        """Pin and return what `current()` says, in one step; while `name` is gated wait, or return None."""
        with self._changed:
            while name in self._gated:
                if not wait:
                    return None
                self._changed.wait()
            generation = current()
            if generation is not None:
                self._hold(generation).calls += 1
        self._sweep()
        return generation

    def wait_open(self, name: str) -> None:
        """Wait while `name` is gated."""
        with self._changed:
            self._changed.wait_for(lambda: name not in self._gated)
        self._sweep()

    def give_back(self, generation: Generation) -> None:
        """End one call's lease."""
        self._let_go(generation, calls=1)

    def bind(self, generation: Generation) -> None:
        """Hold a generation for as long as another one uses it; ended by `unbind`."""
        with self._changed:
            self._hold(generation).bindings += 1
        self._sweep()

    def unbind(self, generation: Generation) -> None:
        self._let_go(generation, bindings=1)

    def when_idle(self, generation: Generation, then: Callable[[], None]) -> bool:
        """Call `then` once nobody holds a superseded generation: now (and return True), or at the last give-back."""
        self._end_closed_results()
        with self._changed:
            hold = self._holds.get(generation)
            if hold is not None:
                hold.when_idle = then
        self._sweep()
        if hold is None:
            then()
        return hold is None

    def calls(self, generations: Iterable[Generation] | None = None) -> int:
        """Return how many calls are in flight on these generations (None: on all)."""
        self._end_closed_results()
        with self._changed:
            holds = self._holds.values() if generations is None else [self._holds.get(g) for g in generations]
            calls = sum(hold.calls for hold in holds if hold is not None)
        self._sweep()
        return calls

    def calls_of(self, name: str) -> int:
        """Return how many calls of a plugin are in flight, on whatever generation."""
        self._end_closed_results()
        with self._changed:
            calls = sum(hold.calls for generation, hold in self._holds.items() if generation.name == name)
        self._sweep()
        return calls

    def gate(self, names: Iterable[str], timeout: float) -> bool:
        """Let new calls of `names` wait and the running ones end; False (gate open again) after `timeout` seconds."""
        names = set(names)
        self._end_closed_results()
        with self._changed:
            self._gated |= names
            ended = self._changed.wait_for(lambda: not self._busy(names), timeout)
        self._sweep()
        if not ended:
            self.open(names)
        return ended

    def open(self, names: Iterable[str]) -> None:
        """Let calls of `names` begin again."""
        with self._changed:
            self._gated -= set(names)
            self._changed.notify_all()
        self._sweep()

    def _busy(self, names: set[str]) -> bool:
        return any(hold.calls for generation, hold in self._holds.items() if generation.name in names)

    def _hold(self, generation: Generation) -> _Hold:
        return self._holds.setdefault(generation, _Hold())

    def _let_go(self, generation: Generation, *, calls: int = 0, bindings: int = 0) -> None:
        then = None
        with self._changed:
            hold = self._hold(generation)
            hold.calls -= calls
            hold.bindings -= bindings
            assert min(hold.calls, hold.bindings) >= 0, "a lease ends once"
            if not hold.calls and not hold.bindings:
                then = hold.when_idle
                del self._holds[generation]  # a refused generation, too, must not stay here
                self._changed.notify_all()
        if then is not None:
            then()
        self._sweep()

    def _sweep(self) -> None:
        """Give back what was collected meanwhile; nothing when the lock is taken: its holder sweeps after."""
        while self._collected and self._changed.acquire(blocking=False):
            self._changed.release()
            try:
                generation = self._collected.popleft()
            except IndexError:
                return  # another thread was faster
            self._let_go(generation, calls=1)

    def _end_closed_results(self) -> None:
        """End the leases of results that were closed before they began: their code never runs to say so."""
        for once, reference in list(self._open_results.items()):
            result = reference()
            if result is not None and _is_closed(result):
                once()

    # -- results that outlive their call ---------------------------------------------------------

    def call(self, generation: Generation, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call on a generation whose lease was taken; the lease ends with the call or with what it returned."""
        token = _CALLING.set((*_CALLING.get(), generation.name))
        try:
            result = function(*args, **kwargs)
        except BaseException:
            self.give_back(generation)
            raise
        finally:
            _CALLING.reset(token)
        return self._outliving(generation, result)

    def _outliving(self, generation: Generation, result: Any) -> Any:
        if inspect.isgenerator(result):
            return self._until_done(generation, lambda done: _generator(result, done))
        if inspect.iscoroutine(result):
            return self._until_done(generation, lambda done: _coroutine(result, done, generation.name))
        if inspect.isasyncgen(result):
            return self._until_done(generation, lambda done: _async_generator(result, done))
        self.give_back(generation)
        return result

    def _until_done(self, generation: Generation, wrap: Callable[[Callable[[], None]], Any]) -> Any:
        once = weakref.finalize(life := _Life(), self._ended, generation)
        once.atexit = False
        wrapped = wrap(lambda: _end(once))
        # Never started and dropped: no `finally` runs, so the wrapper's own end releases the lease too.
        weakref.finalize(wrapped, self._forget, once, life).atexit = False
        self._open_results[once] = weakref.ref(wrapped)
        return wrapped

    def _ended(self, generation: Generation) -> None:
        self._collected.append(generation)
        self._sweep()

    def _forget(self, once: weakref.finalize[..., Any], life: _Life) -> None:
        """Drop what is known of a result that was collected; `life` ends with this call."""
        self._open_results.pop(once, None)
        once()


def _is_closed(result: Any) -> bool:
    frames = (getattr(result, name, result) for name in ("gi_frame", "cr_frame", "ag_frame"))
    return any(frame is None for frame in frames)


class _Life:
    """Lives as long as the result of a call is wanted."""

    __slots__ = ("__weakref__",)


def _end(once: weakref.finalize[..., Any]) -> None:
    once()


def _generator(inner: Generator[Any, Any, Any], done: Callable[[], None]) -> Generator[Any, Any, Any]:
    try:
        return (yield from inner)
    finally:
        done()


async def _coroutine(inner: Coroutine[Any, Any, Any], done: Callable[[], None], name: str) -> Any:
    before = _CALLING.get()
    own = (*before, name)
    _CALLING.set(own)
    try:
        return await inner
    finally:
        if _CALLING.get() is own:  # a coroutine may be closed in a context that isn't its own
            _CALLING.set(before)
        done()


async def _async_generator(inner: AsyncGenerator[Any, Any], done: Callable[[], None]) -> AsyncGenerator[Any, Any]:
    try:
        sent: Any = None
        step = inner.asend(sent)
        while True:
            try:
                value = await step
            except StopAsyncIteration:
                return
            try:
                sent = yield value
                step = inner.asend(sent)
            except GeneratorExit:
                await inner.aclose()
                raise
            except BaseException as error:  # noqa: BLE001  # passed on into the generator
                step = inner.athrow(error)
    finally:
        done()
