"""Reloads that nobody waits for: a call noticed a change, and goes on with what serves.

One after the other, on a thread that ends when there is nothing more to do. Knows names alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Background"]

LOG = logging.getLogger("hotplug")


class Background:
    """Reloads that nobody waits for, one after the other on a thread that ends when it is done."""

    def __init__(self, reload: Callable[[str], object]) -> None:
        self._reload = reload
        self._lock = threading.Lock()  # guards _wanted and _thread
        self._wanted: dict[str, None] = {}
        self._thread: threading.Thread | None = None

    def reload(self, name: str) -> None:
        """Reload a plugin soon; asking again before that changes nothing."""
        with self._lock:
            self._wanted[name] = None
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="hotplug-background", daemon=True)
                thread.start()  # first: one that could not be started must not stand here
                self._thread = thread

    def stop(self) -> None:
        with self._lock:
            self._wanted.clear()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                name = next(iter(self._wanted))
                del self._wanted[name]
            try:
                self._reload(name)
            except BaseException:  # an exit, too, would end the thread in silence, and all that is asked for later
                LOG.exception("hotplug.background_reload_failed", extra={"plugin": name})
