"""Read a file only to tell whether its content differs from a moment ago.

Never blocks on a pipe, never opens a device, never keeps the bytes; what cannot be read has no
digest. A digest finds changes, it is no proof of origin. For `sweep` only.
"""

from __future__ import annotations

import hashlib
import os
import stat

# A larger file is no plugin's source; re-reading it at every look would cost more than it tells.
_LARGEST = 16 * 1024 * 1024

# The path may have become a pipe or a terminal between looking at it and opening it.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def digest_file(path: str) -> bytes | None:
    """Digest a regular file of at most 16 MiB; None stands for everything that cannot be read."""
    try:
        if not _is_worth_reading(os.stat(path)):
            return None
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        return _digest(_read(descriptor)) if _is_worth_reading(os.fstat(descriptor)) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _is_worth_reading(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST


def _read(descriptor: int) -> bytes:
    chunks = []
    while chunk := os.read(descriptor, _LARGEST):
        chunks.append(chunk)
    return b"".join(chunks)


def _digest(content: bytes) -> bytes:
    try:
        return hashlib.md5(content, usedforsecurity=False).digest()
    except ValueError:  # very strict systems refuse MD5 even for finding changes
        return hashlib.blake2b(content).digest()
