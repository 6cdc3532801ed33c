"""One writer at a time, across threads and processes.

The lock ends with the process that holds it, however that ends. A child that is forked meanwhile
does not hold it. Waiting is bounded: a process that was stopped with the lock in its hand must not
stop others for ever.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["file_lock"]

_STEP = 0.005  # seconds between two attempts
_guard = threading.Lock()  # guards _threads
_threads: dict[str, threading.Lock] = {}  # by path: the system's locks know processes, not threads


@contextmanager
def file_lock(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock file `path`; raises TimeoutError after `timeout` seconds, OSError when it can't be opened."""
    deadline = time.monotonic() + timeout
    with _guard:
        threads = _threads.setdefault(os.path.abspath(path), threading.Lock())
    if not threads.acquire(timeout=timeout):
        raise TimeoutError(f"{path} is locked by another thread")
    try:
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
        threads.release()


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
    global _guard, _threads
    _guard, _threads = threading.Lock(), {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
