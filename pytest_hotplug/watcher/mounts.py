"""Which directories lie on a file system that sends no events: remote, shared or foreign ones.

Edits made on the other side of such a mount never reach this kernel's notification queue, so that
only looking helps. Reads the kernel's mount table and decides nothing else. For the watcher only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

_TABLE = Path("/proc/self/mountinfo")

_EVENTLESS = (
    *("9p", "drvfs", "nfs*", "cifs", "smb*", "fuse", "fuse.*"),
    *("vboxsf", "prl_fs", "virtiofs"),
)

_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of the mount table: where, and which kind of file system."""

    point: str
    kind: str

    @property
    def sends_events(self) -> bool:
        """Whether edits made elsewhere show up as events here."""
        return not any(fnmatchcase(self.kind, pattern) for pattern in _EVENTLESS)

    def holds(self, path: str) -> bool:
        """Tell whether `path` is the mount point or lies below it."""
        return path == self.point or path.startswith(self.point.rstrip(os.sep) + os.sep)


def parse_mounts(table: str) -> list[Mount]:
    """Read the text of a mountinfo table; lines in no known form are left out."""
    return [mount for line in table.splitlines() if (mount := _parse_line(line))]


def _parse_line(line: str) -> Mount | None:
    # Optional fields of unknown number stand before the lone dash, the kind right behind it.
    front, dash, back = line.partition(" - ")
    fields, kinds = front.split(), back.split()
    if not dash or len(fields) < 5 or not kinds:
        return None
    return Mount(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]), kinds[0])


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """Find the mount that serves `path`: the longest point, of equals the one mounted last."""
    holding = [mount for mount in mounts if mount.holds(path)]
    longest = max((len(mount.point) for mount in holding), default=0)
    return next((mount for mount in reversed(holding) if len(mount.point) == longest), None)


def first_without_events(paths: Iterable[str], table: Path = _TABLE) -> Mount | None:
    """Find the first mount among those of `paths` (real, absolute) that sends no events.

    Where there is no mount table (every system but Linux) the answer is None.
    """
    try:
        mounts = parse_mounts(table.read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        return None
    if all(mount.sends_events for mount in mounts):
        return None
    serving = (mount_of(path, mounts) for path in paths)
    return next((mount for mount in serving if mount and not mount.sends_events), None)
