"""One writer at a time, across threads and processes.

The lock ends with the process that holds it, however that ends. A child that is forked meanwhile
does not hold it. Waiting is bounded: a process that was stopped with the lock in its hand must not
stop others for ever.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_hotplug.reloader.waiting import Bell

__all__ = ["file_lock"]

_STEP = 0.005  # seconds between two attempts
_released = Bell()  # guards _holders
_holders: dict[str, object] = {}  # by path, this process's holder: the system's locks know processes, not threads


@contextmanager
def file_lock(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock file `path`; raises TimeoutError after `timeout` seconds, OSError when it can't be opened."""
    deadline = time.monotonic() + timeout
    key, holder = os.path.abspath(path), object()
    try:  # around the taking, too: a signal may raise as soon as it is taken
        if not _released.wait_for(lambda: _holders.setdefault(key, holder) is holder, timeout):
            raise TimeoutError(f"{path} is locked by another thread")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            while not _try(fd):
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{path} is locked by another process")
                time.sleep(_STEP)
            yield
        finally:
            os.close(fd)  # and the lock goes with it
    finally:
        with _released.lock:  # no call before it is given back, so no signal handler either
            if key in _holders and _holders[key] is holder:
                del _holders[key]
                _released.ring()


if sys.platform == "win32":
    import msvcrt

    def _try(fd: int) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try(fd: int) -> bool:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True


def _after_fork_in_child() -> None:
    """Start with locks that no thread of the parent holds."""
    global _released, _holders
    _released, _holders = Bell(), {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
