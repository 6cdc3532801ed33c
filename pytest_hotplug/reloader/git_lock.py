"""Wait while git is at work in a plugin's tree: a rebase or a checkout is a storm of half-done states.

git holds `index.lock` while it writes. A lock that nobody takes away (git was killed) counts for ten
seconds and no longer. Looks at names alone; knows nothing of git's files.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["GitLock"]

LONGEST = 10.0  # seconds that one lock is respected


class GitLock:
    """The index lock of the work tree that a directory lies in, if it lies in one."""

    def __init__(self, directory: Path) -> None:
        self._lock = _lock_of(directory)
        self._seen: tuple[tuple[int, int], float] | None = None  # which lock, and since when we know of it

    def is_held(self) -> bool:
        """Tell whether git is writing the tree right now."""
        if self._lock is None:
            return False
        try:
            found = os.stat(self._lock)
        except OSError:
            self._seen = None
            return False
        this = (found.st_ino, found.st_mtime_ns)
        now = time.monotonic()
        if self._seen is None or self._seen[0] != this:
            self._seen = (this, now)
        return now - self._seen[1] < LONGEST


def _lock_of(directory: Path) -> str | None:
    """Return where git keeps the lock of the work tree around `directory`; None outside of any."""
    for parent in (directory, *directory.parents):
        git = parent / ".git"
        if git.is_dir():
            return str(git / "index.lock")
        if git.is_file():  # a linked work tree or a submodule: the file says where
            try:
                said = git.read_text("utf-8", "surrogateescape").strip()
            except OSError:
                return None
            place = said.removeprefix("gitdir:").strip()
            return str(parent / place / "index.lock") if said.startswith("gitdir:") else None
    return None
