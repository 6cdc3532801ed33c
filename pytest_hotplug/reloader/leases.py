"""Running calls pin their generation; a generation retires when its last lease ends.

A lease lasts until the call returns; for a coroutine, generator or async generator that the call
returned, until that is finished, closed or collected. A generation that another one is bound to is
held by that one's life. Knows nothing of what retiring means.
"""

from __future__ import annotations

import inspect
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextvars import ContextVar
from typing import Any

from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.waiting import Bell

__all__ = ["Lease", "Leases", "calling"]

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


class Lease:
    """One call's hold of a generation, given back by `Leases.give_back`.

    One that was lost on the way, because a signal handler raised between two steps, is given back
    when it is collected.
    """

    __slots__ = ("_leases", "counted", "generation", "number")

    def __init__(self, leases: Leases, generation: Generation, number: int) -> None:
        self._leases = leases
        self.generation = generation
        self.number = number
        self.counted = False

    def __del__(self) -> None:
        if getattr(self, "counted", False):  # a signal may have cut its making short
            self._leases.give_back_later(self)


class Leases:
    """The holds of one manager's generations."""

    def __init__(self) -> None:
        self._holds: dict[Generation, _Hold] = {}
        self._numbers = itertools.count(1)
        # By lease: on which thread its call runs (None: on none in particular), for a fork leaves the others behind.
        self._taken: dict[int, tuple[int | None, Generation]] = {}
        self._gated: dict[str, object] = {}  # by plugin: who closed its gate
        # Guards _holds, _taken and _gated; also where calls wait at a gate and a gate waits for calls.
        self._changed = Bell()
        self._open_results: dict[weakref.finalize[..., Any], weakref.ref[Any]] = {}
        # A result may be collected anywhere, even in a thread that holds the lock above: what its
        # finalizer gives back waits here until the lock is free.
        self._collected: deque[Lease] = deque()
        # What waited for generations that are free by now; it stays here until it was done, whatever cuts that short.
        self._due: dict[Generation, Callable[[], None]] = {}

    def after_fork(self) -> None:
        """Start, in a child process, with no lock, no gate and no call that takes a thread of the parent to end."""
        self._changed = Bell()
        self._gated = {}
        own = threading.get_ident()
        for number, (thread, generation) in list(self._taken.items()):
            if thread is not None and thread != own:
                del self._taken[number]
                hold = self._hold(generation)
                hold.calls -= 1
                if not hold.calls + hold.bindings:
                    del self._holds[generation]  # what waited for that waits in the parent

    def take(self, name: str, current: Callable[[], Generation | None], *, wait: bool = True) -> Lease | None:
        """Pin what `current()` says, in one step, None when it is None; while `name` is gated wait, or return None."""
        while True:
            lease, number, thread = None, next(self._numbers), threading.get_ident()
            with self._changed.lock:
                is_open = name not in self._gated
                if is_open and (generation := current()) is not None:
                    lease, hold = Lease(self, generation, number), self._hold(generation)
                    # No signal handler runs between these: none is a call.
                    self._taken[number] = thread, generation
                    hold.calls += 1
                    lease.counted = True
            self._sweep()
            if is_open or not wait:
                return lease
            self.wait_open(name)

    def wait_open(self, name: str) -> None:
        """Wait while `name` is gated."""
        self._changed.wait_for(lambda: name not in self._gated)
        self._sweep()

    def give_back(self, lease: Lease) -> None:
        """End one call's lease; without effect when it has ended."""
        generation = lease.generation
        with self._changed.lock:
            if lease.counted and lease.number in self._taken:
                hold = self._hold(generation)
                # No signal handler runs from here to the ring: nothing of it is a call.
                if hold.calls + hold.bindings == 1:
                    if hold.when_idle is not None:
                        self._due[generation] = hold.when_idle
                    del self._holds[generation]  # a refused generation, too, must not stay here
                del self._taken[lease.number]
                hold.calls -= 1
                lease.counted = False
                self._changed.ring()  # a gate waits for calls, and for nothing else
        self._sweep()

    def give_back_later(self, lease: Lease) -> None:
        """End a lease from a finalizer, which may run anywhere."""
        self._collected.append(lease)
        self._sweep()

    def moved(self, lease: Lease, *, to_any: bool = False) -> None:
        """Note that a call goes on on this thread, or on whichever one consumes its result."""
        with self._changed.lock:
            if lease.number in self._taken:
                self._taken[lease.number] = None if to_any else threading.get_ident(), lease.generation
        self._sweep()

    def bind(self, generation: Generation) -> None:
        """Hold a generation for as long as another one uses it; ended by `unbind`."""
        with self._changed.lock:
            self._hold(generation).bindings += 1
        self._sweep()

    def unbind(self, generation: Generation) -> None:
        with self._changed.lock:
            hold = self._hold(generation)
            assert hold.bindings > 0, "a binding ends once"
            if hold.calls + hold.bindings == 1:
                if hold.when_idle is not None:
                    self._due[generation] = hold.when_idle
                del self._holds[generation]
            hold.bindings -= 1
        self._sweep()

    def when_idle(self, generation: Generation, then: Callable[[], None]) -> bool:
        """Call `then` once nobody holds a superseded generation: now (and return True), or at the last give-back.

        It may be called again when a signal cut it short.
        """
        self._end_closed_results()
        with self._changed.lock:
            hold = self._holds.get(generation)
            if hold is not None and not hold.calls + hold.bindings:
                del self._holds[generation]  # a signal cut off who was about to take it
                hold = None
            if hold is not None:
                hold.when_idle = then
        self._sweep()
        if hold is None:
            then()
        return hold is None

    def calls(self, generations: Iterable[Generation] | None = None) -> int:
        """Return how many calls are in flight on these generations (None: on all)."""
        self._end_closed_results()
        with self._changed.lock:
            holds = self._holds.values() if generations is None else [self._holds.get(g) for g in generations]
            calls = sum(hold.calls for hold in holds if hold is not None)
        self._sweep()
        return calls

    def calls_of(self, name: str) -> int:
        """Return how many calls of a plugin are in flight, on whatever generation."""
        self._end_closed_results()
        with self._changed.lock:
            calls = sum(hold.calls for generation, hold in self._holds.items() if generation.name == name)
        self._sweep()
        return calls

    def gate(self, names: Iterable[str], timeout: float, who: object = None) -> bool:
        """Let new calls of `names` wait and the running ones end; False (gate open again) after `timeout` seconds.

        A gate that another one closed is waited for: nobody stops the same plugin twice at once.
        """
        names = set(names)
        deadline = time.monotonic() + timeout
        self._end_closed_results()
        ended = False
        try:
            ended = self._changed.wait_for(lambda: self._close(names, who), timeout) and self._changed.wait_for(
                lambda: not self._busy(names), deadline - time.monotonic()
            )
        finally:
            if not ended:
                self.open(names, who)
        self._sweep()
        return ended

    def open(self, names: Iterable[str], who: object = None) -> None:
        """Let calls of `names` begin again, as far as `who` closed their gate."""
        with self._changed.lock:
            for name in names:
                if name in self._gated and self._gated[name] is who:
                    del self._gated[name]
            self._changed.ring()
        self._sweep()

    def _close(self, names: set[str], who: object) -> bool:
        """Close the gate of all of `names` or of none; the caller holds the lock."""
        if names & self._gated.keys():
            return False
        self._gated.update(dict.fromkeys(names, who))
        return True

    def is_running(self, name: str) -> bool:
        """Tell whether a call is in flight that runs code of a plugin, its own or one of a plugin that uses it."""
        self._end_closed_results()
        with self._changed.lock:
            running = self._busy({name})
        self._sweep()
        return running

    def _busy(self, names: set[str]) -> bool:
        return any(hold.calls and names & _runs(generation) for generation, hold in self._holds.items())

    def _hold(self, generation: Generation) -> _Hold:
        return self._holds.setdefault(generation, _Hold())

    def _sweep(self) -> None:
        """Give back what was collected meanwhile, and do what waited for that.

        Nothing when the lock is taken: its holder sweeps after.
        """
        while self._collected and not self._changed.lock.locked():
            try:
                lease = self._collected.popleft()
            except IndexError:
                return  # another thread was faster
            self.give_back(lease)
        for generation, then in list(self._due.items()) if self._due and not self._changed.lock.locked() else ():
            then()
            self._due.pop(generation, None)

    def _end_closed_results(self) -> None:
        """End the leases of results that were closed before they began: their code never runs to say so."""
        for once, reference in list(self._open_results.items()):
            result = reference()
            if result is not None and _is_closed(result):
                once()

    # -- results that outlive their call ---------------------------------------------------------

    def call(self, lease: Lease, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call on a generation whose lease was taken; the lease ends with the call or with what it returned."""
        before = _CALLING.get()
        try:
            _CALLING.set((*before, lease.generation.name))
            result = function(*args, **kwargs)
        except BaseException:
            self.give_back(lease)
            raise
        finally:
            _CALLING.set(before)
        return self._outliving(lease, result)

    def _outliving(self, lease: Lease, result: Any) -> Any:
        if inspect.isgenerator(result):
            return self._until_done(lease, lambda done: _generator(result, done))
        if inspect.iscoroutine(result):
            name = lease.generation.name  # it begins on its loop's thread, which a forked child may lack
            return self._until_done(lease, lambda done: _coroutine(result, lambda: self.moved(lease), done, name))
        if inspect.isasyncgen(result):
            return self._until_done(lease, lambda done: _async_generator(result, done))
        self.give_back(lease)
        return result

    def _until_done(self, lease: Lease, wrap: Callable[[Callable[[], None]], Any]) -> Any:
        self.moved(lease, to_any=True)
        once = weakref.finalize(life := _Life(), self.give_back_later, lease)
        once.atexit = False
        wrapped = wrap(lambda: _end(once))
        # Never started and dropped: no `finally` runs, so the wrapper's own end releases the lease too.
        weakref.finalize(wrapped, self._forget, once, life).atexit = False
        self._open_results[once] = weakref.ref(wrapped)
        return wrapped

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


async def _coroutine(
    inner: Coroutine[Any, Any, Any], begun: Callable[[], None], done: Callable[[], None], name: str
) -> Any:
    before = _CALLING.get()
    own = (*before, name)
    _CALLING.set(own)
    try:
        begun()
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


def _runs(generation: Generation) -> set[str]:
    """Return the plugins whose code a call of a generation may run, whatever serves by now."""
    reached, pending = {generation}, [generation]
    while pending:
        fresh = set(pending.pop().bound.values()) - reached
        reached |= fresh
        pending += fresh
    return {each.name for each in reached}
