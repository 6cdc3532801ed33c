"""Copy the memory that a forked process shares with its parent while nobody waits for it.

The kernel copies a page at the first write to it, which costs microseconds, thousands of times in the
first test of a run. Asked for all of them at once (`MADV_POPULATE_WRITE`, Linux 5.14) it takes about as
long, but before the save. What can't be copied ahead is copied when it is written, as ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["copy_shared_pages"]

MOST = 256 << 20  # bytes: more is no work for a pause between two edits
_POPULATE_WRITE = 23
_AREA = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) [^\n]*\n(?:[A-Z]\w+:[^\n]*\n)*?Rss: +(\d+) kB", re.MULTILINE)


def copy_shared_pages() -> None:
    """Have this process's own copy of all its writable memory, as far as `MOST` reaches."""
    try:
        import ctypes

        madvise, smaps = ctypes.CDLL(None).madvise, Path("/proc/self/smaps").read_text(errors="surrogateescape")
    except (OSError, ImportError, AttributeError):
        return  # it only costs time
    left = MOST
    for start, size in _areas(smaps):
        left -= size
        if left < 0 or madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _POPULATE_WRITE) != 0:
            return  # too much, or a kernel that doesn't know it


def _areas(smaps: str) -> Iterator[tuple[int, int]]:
    """Yield start and size in bytes of private writable areas that are in use for the most part."""
    for start, end, access, rss in _AREA.findall(smaps):
        first, size = int(start, 16), int(end, 16) - int(start, 16)
        if access == "rw-p" and int(rss) * 1024 * 2 >= size:
            yield first, size
