"""Write to a stream that somebody may have stopped reading: what isn't taken in time is dropped, and nobody waits.

A pipe whose reader hangs takes 64 KiB and then nothing; whoever writes to it hangs as well, with the
locks that it holds.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import TextIO

__all__ = ["push"]

_PIECE = 4096  # bytes that a pipe which takes any takes as a whole: PIPE_BUF


def push(stream: TextIO, text: str, patience: float) -> None:
    """Write `text` past the stream's buffer, waiting at most `patience` seconds for each piece to be taken.

    Raises OSError, EAGAIN when it isn't taken, and ValueError for a stream that is closed. A stream
    without a descriptor, and any on Windows, is written to as usual.
    """
    descriptor = _descriptor(stream)
    if descriptor is None:
        stream.write(text)
        stream.flush()
        return
    data = text.encode(stream.encoding or "utf-8", "backslashreplace")
    while data:
        if not select.select([], [descriptor], [], patience)[1]:
            raise OSError(errno.EAGAIN, "nobody reads it")
        data = data[os.write(descriptor, data[:_PIECE]) :]


def _descriptor(stream: TextIO) -> int | None:
    if sys.platform == "win32":  # only sockets can be waited for there
        return None
    try:
        return stream.fileno()
    except OSError:  # it lies in memory
        return None
