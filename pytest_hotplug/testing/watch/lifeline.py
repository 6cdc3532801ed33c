"""End with the watcher, whatever ends it.

The watcher holds the writing end of a pipe and never writes. A process that is busy has a thread that
reads; one that waits to fork must have no thread, and looks at the pipe itself.
"""

from __future__ import annotations

import os
import select
import signal
import threading

__all__ = ["Lifeline"]


class Lifeline:
    """The reading end, watched by a thread from `guard` to `release`."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self.fd = fd
        self._release, self._released = -1, -1
        self._thread: threading.Thread | None = None

    def guard(self) -> None:
        """End this process and those that it started once the watcher is gone: nobody wants the verdict."""
        self._release, self._released = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="hotplug-lifeline", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        ready, _, _ = select.select([self.fd, self._release], [], [])
        if self._release not in ready:
            os.killpg(0, signal.SIGKILL)

    def release(self) -> None:
        """End the thread, and wait until it is gone."""
        if self._thread is not None:
            os.close(self._released)
            self._thread.join()
            os.close(self._release)
            self._thread = None
