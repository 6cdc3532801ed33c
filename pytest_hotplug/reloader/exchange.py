"""Exchange two directories in one step, so that nobody ever finds neither of them.

The system does it or nobody can: renaming one away and the other in leaves a moment without either,
and a process that is killed in that moment leaves it so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pytest_hotplug.reloader.errors import UsageError

__all__ = ["exchange"]

_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # macOS, sys/stdio.h
_AT_FDCWD = -100


def exchange(one: Path, other: Path) -> None:
    """Let each of two paths of one file system be what the other was.

    Raises UsageError `[no-exchange]` where system or file system can't, OSError for anything else.
    """
    swap = _swapper()
    if swap is None:
        raise _cannot("this system has no call for it")
    if swap(os.fsencode(one), os.fsencode(other)) == 0:
        return
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        raise _cannot(os.strerror(number))
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _swapper() -> Callable[[bytes, bytes], int] | None:
    """Return what exchanges two paths given as bytes and returns 0, None where there is nothing."""
    if sys.platform not in ("linux", "darwin"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        swap = getattr(libc, "renamex_np", None)
        return swap and (lambda one, other: swap(one, other, ctypes.c_uint(_RENAME_SWAP)))
    rename = getattr(libc, "renameat2", None)
    return rename and (lambda one, other: rename(_AT_FDCWD, one, _AT_FDCWD, other, ctypes.c_uint(_RENAME_EXCHANGE)))


def _cannot(why: str) -> UsageError:
    message = (
        f"two directories can't be exchanged in one step here ({why}); deploy by a link instead: "
        "put each release beside the plugin dir and let the plugin's directory be a link to one"
    )
    return UsageError(message, "no-exchange")
