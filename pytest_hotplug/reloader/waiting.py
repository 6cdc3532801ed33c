"""Waiting that an exception from a signal handler can't break: Ctrl-C, or a timeout by SIGALRM.

Such an exception may come up wherever Python code begins or a call into C returns. `with lock:` on a
plain lock has no such place between taking and releasing; `threading.Condition` and `Event` do, for
theirs are Python functions: the lock inside them would stay taken, and others wait for ever.
Knows nothing of plugins.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Bell", "Latch"]

SLICE = 1.0  # seconds after which a waiter looks by itself: a ring that was cut short costs no more


class Latch:
    """Something that happens once, and one thread that waits for it."""

    def __init__(self) -> None:
        self._closed = threading.Lock()
        self._closed.acquire()

    def open(self) -> None:
        """Let the one who waits go on; call it once."""
        self._closed.release()

    def wait(self, timeout: float) -> bool:
        """Wait until it was opened; False when it wasn't within `timeout` seconds. True is told once."""
        return self._closed.acquire(timeout=timeout)


class Bell:
    """State that `lock` guards, and threads that wait for changes of it.

    Whoever changes something rings while it holds `lock`; nobody holds it while waiting.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._waiters: list[threading.Lock] = []

    def ring(self) -> None:
        """Wake all that wait; the caller holds `lock`. May be repeated when it was cut short."""
        for waiter in self._waiters:
            if waiter.locked():
                waiter.release()
        self._waiters.clear()

    def wait_for(self, reached: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until `reached()`, which is asked under `lock`; return its last answer after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self.lock:
                if reached():
                    return True
                left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
                if left <= 0:
                    return False
                waiter = threading.Lock()
                waiter.acquire()
                self._waiters.append(waiter)
            if not waiter.acquire(timeout=left):
                with self.lock:
                    if waiter in self._waiters:  # else it was rung a moment ago
                        self._waiters.remove(waiter)
