"""Follow a path by hand and remember where it could be redirected.

`os.path.realpath` tells only where a path ends. To hear of a swapped symbolic link one must know
every link that was passed, and in which real directory each of them lies. Reads links, changes
nothing. For the watcher only.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import PurePath

# As the Linux kernel: a path that passes more links is a loop.
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Trail:
    """Where a path leads: each hinge is a real path whose appearing, vanishing or swapping redirects it."""

    hinges: tuple[str, ...]
    end: str
    found: bool


def follow(path: str) -> Trail:
    """Walk an absolute path to its real end, or to its first missing part."""
    here, ahead = _split(path)
    links: list[str] = []
    while ahead:
        part = ahead.pop()
        if part == os.pardir:
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, part)
        try:
            target = os.readlink(step)
        except OSError as error:
            if error.errno == errno.EINVAL:  # there, and not a link
                here = step
                continue
            # Below a plain file nothing can ever appear: the file itself would have to go first.
            missing = here if error.errno == errno.ENOTDIR else step
            return Trail((*links, missing), missing, found=False)
        links.append(step)
        if len(links) > _MOST_LINKS:
            return Trail(tuple(links), step, found=False)
        start, parts = _split(target)
        here = start or here
        ahead += parts
    return Trail((*links, here), here, found=True)


def _split(path: str) -> tuple[str, list[str]]:
    """Part a path into its anchor and its parts, the last one first."""
    pure = PurePath(path)
    parts = pure.parts[1:] if pure.anchor else pure.parts
    return pure.anchor, list(reversed(parts))
