"""Hear that something happens in directories, and nothing before it does: inotify, read for its ring alone.

What happened is the native watcher's to tell, which by itself has to look for news a thousand times a
second. Linux only; for `native` only.
"""

from __future__ import annotations

import ctypes
import os
import select
import threading
from collections.abc import Sequence

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8  # sys/inotify.h
_MOVED, _CREATE, _DELETE = 0x40 | 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_CHANGES = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_A_READ = 1 << 16  # bytes; thousands of events


class Bell:
    """One inotify instance over these directories, each without those below it.

    Raises OSError where the system has no room for it (ENOSPC, EMFILE, ENFILE), or a directory is gone.
    """

    def __init__(self, directories: Sequence[str]) -> None:
        self._lock = threading.Lock()  # guards `_wake` against being closed while it is written to
        self._events = _listen_to(directories)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        for fd in (self._events, self._wake):
            self._poll.register(fd, select.POLLIN)

    def wait(self, milliseconds: int | None) -> bool:
        """Wait for a ring (None: without end) and tell whether there was one; `wake` ends the wait as well."""
        ready = {fd for fd, _ in self._poll.poll(milliseconds)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._events in ready:
            os.read(self._events, _A_READ)  # what is left rings again
        return self._events in ready

    def wake(self) -> None:
        """End the wait that goes on, or the next one; from any thread."""
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Hear no more."""
        with self._lock:
            os.close(self._wake)
            self._wake = -1
        os.close(self._events)


def _listen_to(directories: Sequence[str]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)  # the same bits as IN_CLOEXEC and IN_NONBLOCK
    if fd < 0:
        raise _last_error("inotify_init1")
    for directory in directories:
        if libc.inotify_add_watch(fd, os.fsencode(directory), ctypes.c_uint32(_CHANGES)) < 0:
            error = _last_error(directory)
            os.close(fd)
            raise error
    return int(fd)


def _last_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
