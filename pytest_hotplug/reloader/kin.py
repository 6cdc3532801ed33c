"""Find the forks of a process by its command line, wherever they went and whatever they closed.

A fork keeps its parent's command line until it becomes another program; a new session, a new parent
or closed descriptors change nothing about that. Told by /proc: elsewhere nothing is found. Knows
nothing of plugins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["alike"]

_PROC = Path("/proc")


def alike(command: Sequence[str]) -> Iterator[int]:
    """Yield the ids of all processes but this one that run as `command`; of those that ended, none."""
    wanted = b"".join(os.fsencode(part) + b"\0" for part in command)
    with suppress(OSError):  # there is no /proc
        for entry in os.scandir(_PROC):
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with suppress(OSError):  # it ended meanwhile, or is somebody else's
                    if (_PROC / entry.name / "cmdline").read_bytes() == wanted:
                        yield int(entry.name)
