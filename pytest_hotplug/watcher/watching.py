"""Run a watch: one thread that waits for hints, lets them come to rest and hands out batches.

Chooses between native events and sweeping, says why, and keeps watching whatever happens: a failing
native watcher is restarted, one that can never work is replaced by sweeping, a failing receiver is
logged. Knows nothing of plugins. Used through `pytest_hotplug.watcher`.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from pytest_hotplug.watcher.batch import Batch
from pytest_hotplug.watcher.debounce import Debounce
from pytest_hotplug.watcher.events import EventSource
from pytest_hotplug.watcher.native import OpenNotifier, open_notifier, why_unavailable
from pytest_hotplug.watcher.plan import Plan, make_plan
from pytest_hotplug.watcher.sweep import SweepSource

_log = logging.getLogger("hotplug.watcher")

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 5.0
# A backend that worked so long begins anew with the first delay.
_HEALTHY_AFTER = 5.0

# A receiver that never returns must not keep the interpreter from leaving.
_LEAVE_WITHIN = 1.0


class Source(Protocol):
    """Where hints come from; its paths are absolute and named as the caller named the roots."""

    missed: int

    def arm(self) -> Collection[str]:
        """See to it that what changes from now on becomes a hint."""
        ...

    def wait(self, timeout: float | None) -> Collection[str]:
        """Wait for hints, at most `timeout` seconds; returns none when the watch stops."""
        ...

    def wake(self) -> None:
        """Let a wait that goes on see that the watch stops; from any thread."""
        ...

    def close(self) -> None:
        """Release what is held; a later `wait` arms again."""
        ...


@dataclass(frozen=True, slots=True)
class Mode:
    """Hold how a watch works and why, exchanged as one so that the two always fit."""

    backend: str
    reason: str


class Watching:
    """Watch until stopped; also a context manager. Begin one with `watch`.

    What other threads may see changes by single assignments of frozen values, so there is no lock,
    and the receiver is called without one.
    """

    def __init__(
        self,
        plan: Plan,
        on_batch: Callable[[Batch], None],
        on_notice: Callable[[str], None] | None = None,
        open_notifier: OpenNotifier = open_notifier,
    ) -> None:
        self._plan = plan
        self._on_batch = on_batch
        self._on_notice = on_notice
        self._stopping = threading.Event()
        self._debounce = Debounce(plan.debounce, plan.settle_max)
        self._source, self._mode = self._choose(open_notifier)
        self._restarts = 0
        self._delay = _FIRST_DELAY
        self._tried_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="hotplug-watch", daemon=True)
        # Left to itself the thread is cut off inside the native watcher, and older ones (watchfiles 1.0)
        # then take the whole process down with them.
        atexit.register(self._leave)
        self._thread.start()

    @property
    def backend(self) -> str:
        """How changes are found: "events" or "polling"."""
        return self._mode.backend

    @property
    def reason(self) -> str:
        """Why this backend, in one line."""
        return self._mode.reason

    @property
    def alive(self) -> bool:
        """Whether changes are still reported."""
        return self._thread.is_alive()

    @property
    def restarts(self) -> int:
        """How often the backend failed and was started anew."""
        return self._restarts

    @property
    def missed_by_events(self) -> int:
        """How many changes a look found that no event had told of."""
        return self._source.missed

    def stop(self) -> None:
        """Stop watching and wait for the thread to end; hints not handed out yet are dropped.

        May be called twice, and from inside the receiver: then the thread ends after it returned.
        """
        self._let_go()
        atexit.unregister(self._leave)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Watching:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _leave(self) -> None:
        self._let_go()
        self._thread.join(_LEAVE_WITHIN)

    def _let_go(self) -> None:
        self._stopping.set()
        self._source.wake()

    # -- which backend

    def _choose(self, open_notifier: OpenNotifier) -> tuple[Source, Mode]:
        if self._plan.forced:
            return self._sweeping(self._plan.forced)
        source = EventSource(self._plan.roots, open_notifier, self._plan.step, self._stopping)
        try:
            source.arm()
        except Exception as error:  # noqa: BLE001 - whatever it was: better sweeping than unarmed
            source.close()
            return self._sweeping_instead(error)
        return source, Mode("events", "native events")

    def _sweeping(self, reason: str) -> tuple[Source, Mode]:
        source = SweepSource(self._plan.roots, self._plan.interval, self._stopping)
        source.arm()
        return source, Mode("polling", reason)

    def _sweeping_instead(self, error: Exception) -> tuple[Source, Mode]:
        reason = why_unavailable(error) or f"native events did not start: {error}"
        chosen = self._sweeping(reason)
        self._notice(reason)
        return chosen

    # -- the thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._collect()
                self._deliver()
        finally:
            self._source.close()

    def _collect(self) -> None:
        try:
            hints = self._source.wait(self._debounce.remaining())
        except Exception as error:  # noqa: BLE001 - nothing a file system does may end the watch
            self._recover(error)
        else:
            self._debounce.add(hints)

    def _deliver(self) -> None:
        batch = self._debounce.take()
        if batch is None or self._stopping.is_set():
            return
        try:
            self._on_batch(batch)
        except BaseException:  # noqa: BLE001 - a SystemExit out of it would end the watch in silence
            _log.exception("hotplug.watch_receiver_failed", extra={"paths": sorted(map(str, batch.paths))})

    def _notice(self, reason: str) -> None:
        """Say once that events do not work: to whoever wants to hear it, else to the log."""
        if self._on_notice is None:
            _log.warning("hotplug.watch_polls", extra={"reason": reason})
            return
        try:
            self._on_notice(f"watching by polling every {self._plan.interval:g} s: {reason}")
        except Exception:  # noqa: BLE001 - a failing receiver hurts nobody else
            _log.exception("hotplug.watch_notice_failed", extra={"reason": reason})

    # -- what happens after an error

    def _recover(self, error: Exception) -> None:
        self._source.close()
        if why_unavailable(error):
            self._source, self._mode = self._sweeping_instead(error)
            self._debounce.add(self._plan.roots, overflow=True)
            return
        self._restarts += 1
        # Nobody knows what was lost; what changes until the restart is found by its first look.
        self._debounce.add(self._plan.roots, overflow=True)
        delay = self._next_delay()
        _log.warning(
            "hotplug.watch_restarted",
            extra={"error": str(error), "restarts": self._restarts, "delay": delay},
        )
        self._rest(delay)

    def _next_delay(self) -> float:
        now = time.monotonic()
        if now - self._tried_at > _HEALTHY_AFTER:
            self._delay = _FIRST_DELAY
        delay, self._delay = self._delay, min(2 * self._delay, _LONGEST_DELAY)
        self._tried_at = now + delay
        return delay

    def _rest(self, seconds: float) -> None:
        """Pause before the next try, and hand out meanwhile what is due."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stopping.is_set():
            due = self._debounce.remaining()
            self._stopping.wait(left if due is None else min(left, due))
            self._deliver()


def watch(
    roots: Sequence[Path],
    on_batch: Callable[[Batch], None],
    *,
    debounce: float = 0.05,
    settle_max: float = 2.0,
    poll_interval: float | None = None,
    force_polling: bool = False,
    step: float = 0.005,
    on_notice: Callable[[str], None] | None = None,
) -> Watching:
    """Watch directories and report what may have changed below them, from now on.

    `on_batch` is called on the watch's own thread, after `debounce` seconds without a new hint and at
    the latest `settle_max` seconds after the first one. A root may be missing, may come and go, and
    may be or hold symbolic links. Sweeping every `poll_interval` seconds (1.0 unless given) replaces
    native events when either of the two polling arguments or WATCHFILES_FORCE_POLLING asks for it,
    and where events cannot work; then `on_notice` gets one line saying why. `step` is how long the
    native watcher waits for more news, in seconds; where nothing tells it that there is any (elsewhere than on
    Linux, or when inotify has no room left), it wakes as often, after a minute of rest every 10 ms.

    Raises ValueError for a time that makes no sense.
    """
    plan = make_plan(
        roots,
        debounce=debounce,
        settle_max=settle_max,
        poll_interval=poll_interval,
        force_polling=force_polling,
        step=step,
    )
    return Watching(plan, on_batch, on_notice)
