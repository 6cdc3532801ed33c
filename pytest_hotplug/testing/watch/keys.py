"""Keys at any time: the terminal in cbreak mode, always put back.

Without a terminal there are no keys. Knows nothing of what they mean.
"""

from __future__ import annotations

import atexit
import os
import queue
import select
import sys
import threading
from types import TracebackType
from typing import Any

__all__ = ["Keys"]


class Keys:
    """Reads single keys from the terminal into a queue; a context manager."""

    def __init__(self, inbox: queue.Queue[Any]) -> None:
        self._inbox = inbox
        self._saved: list[Any] | None = None
        self._wake_read, self._wake_write = os.pipe()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Keys:
        if sys.stdin.isatty():
            import termios
            import tty

            self._saved = termios.tcgetattr(sys.stdin.fileno())
            atexit.register(self._restore)
            tty.setcbreak(sys.stdin.fileno(), termios.TCSADRAIN)
            self._thread = threading.Thread(target=self._read, name="hotplug-keys", daemon=True)
            self._thread.start()
        return self

    def _read(self) -> None:
        fd = sys.stdin.fileno()
        while True:
            ready, _, _ = select.select([fd, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            for key in os.read(fd, 64).decode("utf-8", "replace"):
                self._inbox.put(("key", key))

    def _restore(self) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._saved)
            self._saved = None
            atexit.unregister(self._restore)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._wake_write, b"x")
        if self._thread is not None:
            self._thread.join()
        self._restore()
        os.close(self._wake_read)
        os.close(self._wake_write)
