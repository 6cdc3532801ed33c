"""The look before each call: whether the files lie there as they did, without a pause for other threads.

`os.stat` lets go of the interpreter while it asks the kernel. Where other threads want it, each file
then costs a handover, a hundred times what the answer takes. Here the same question is asked without
letting go. That is right where the answer lies in memory or on a disk of this machine, and nowhere
else: a server that doesn't answer would stop every thread. So the mount decides, place by place.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_hotplug.reloader.looking import Look, Signature, unchanged

__all__ = ["QuickLook"]

# File systems whose answers come from this machine.
_LOCAL = frozenset(("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"))
_MOUNTS = Path("/proc/self/mountinfo")

_AT_FDCWD = -100
_MNT_ID = 0x1000  # from Linux 5.8 on
_WANTED = 0x07FF | _MNT_ID  # STATX_BASIC_STATS and that


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("_", ctypes.c_int32))

    @property
    def ns(self) -> int:
        return int(self.seconds) * 1_000_000_000 + int(self.nanoseconds)


class _Answer(ctypes.Structure):
    """`struct statx` of statx(2), the same on every architecture; what no place is told apart by has no name."""

    _fields_ = (
        *(("mask", ctypes.c_uint32), ("_to_ino", ctypes.c_uint8 * 28)),
        *(("ino", ctypes.c_uint64), ("size", ctypes.c_uint64), ("_to_atime", ctypes.c_uint8 * 16)),
        *(("atime", _Time), ("btime", _Time), ("ctime", _Time), ("mtime", _Time)),
        *(("_to_mnt_id", ctypes.c_uint8 * 16), ("mnt_id", ctypes.c_uint64), ("_rest", ctypes.c_uint8 * 104)),
    )

    @property
    def signature(self) -> Signature:
        return (self.mtime.ns, int(self.size), int(self.ino), self.ctime.ns)


class QuickLook:
    """The places of one look, to be looked at again before each call. Threads may share it."""

    __slots__ = ("_answers", "_before", "_places", "look")

    def __init__(self, look: Look) -> None:
        self.look = look
        self._answers = (_Answer * len(look.places))()
        self._before = b""  # every answer, as it was when nothing had changed
        paths = (os.fsencode(place) for place, _ in look.places)
        self._places = tuple(zip(paths, map(ctypes.byref, self._answers), strict=True))
        if not (self._asked() and self._is_unchanged() and self._lies_here()):
            self._places = ()

    def unchanged(self) -> bool:
        """Tell whether nothing changed; False means: look properly."""
        if not self._places:
            return unchanged(self.look)
        # Another thread may write into the same answers meanwhile: newer ones, which are as good.
        return self._asked() and (bytes(self._answers) == self._before or self._is_unchanged())

    def _asked(self) -> bool:
        ask = _statx
        for place, into in self._places:  # noqa: SIM110  # a generator is a third slower, and this is before each call
            if ask(_AT_FDCWD, place, 0, _WANTED, into):
                return False
        return True

    def _is_unchanged(self) -> bool:
        """Compare what counts: an answer also tells when a file was last read, for one."""
        answers = type(self._answers).from_buffer_copy(self._answers)  # of one moment
        same = all(answer.signature == known for answer, (_, known) in zip(answers, self.look.places, strict=False))
        self._before = bytes(answers) if same else b""
        return same

    def _lies_here(self) -> bool:
        local = _local_mounts()
        return all(answer.mask & _MNT_ID and answer.mnt_id in local for answer in self._answers)


def _local_mounts() -> set[int]:
    """Return the ids of the mounts whose file system is of this machine."""
    try:
        table = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return set()  # without /proc nobody can tell
    parts = (line.partition(" - ") for line in table.splitlines())
    return {int(front.split()[0]) for front, _, back in parts if back.split(" ")[0] in _LOCAL}


def _find_statx() -> Callable[..., int]:
    """Return statx(2), called with the interpreter held; where there is none, what refuses every question."""
    library: Any = ctypes.PyDLL(None) if sys.platform == "linux" else None
    return getattr(library, "statx", _refuse)


def _refuse(*_: object) -> int:
    return -1


_statx = _find_statx()
