"""Look at a tree: where it really lies, and the signature of every file that counts.

A look reads no file. It tells that something changed, never that nothing but times did: what the
bytes say is for `fingerprint`. Changes nothing.
"""

from __future__ import annotations

import fnmatch
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_hotplug.reloader.names import is_noise, is_test

__all__ = [
    "MAX_FILES",
    "RACY_NS",
    "Look",
    "Signature",
    "is_edited",
    "leads_inside",
    "look_at",
    "signature_of",
    "stamp_of",
    "unchanged",
]

# Bound at import: a test that patches os.* must not blind the reloader.
_scandir, _stat, _realpath = os.scandir, os.stat, os.path.realpath

MAX_FILES = 2_000
MAX_DEPTH = 16

# A change inside the clock tick of our own read leaves the signature as it was: until a file is
# this old, its bytes are read again. File systems tick every 1-10 ms, FAT every 2 s.
RACY_NS = 2_000_000_000


Signature = tuple[int, int, int, int]  # mtime_ns, size, inode, ctime_ns: compared for inequality only


@dataclass(frozen=True, slots=True)
class Look:
    """One cheap look at a tree: where it really lies, and the signature of every counted file.

    `places` are the directories (the configured path first) and the files by their path: as long
    as the signature of each is the same, nothing was added, removed, renamed or edited. Empty when
    that can't be relied on, because a directory was so young that a change in the same tick would hide.
    `escapes` are links that lead out of the plugin. `others` are the files that don't count, None where nobody asked.
    """

    root: str
    files: Mapping[str, Signature]
    at: int  # time.time_ns() before the look
    places: tuple[tuple[str, Signature], ...] = ()
    escapes: tuple[str, ...] = ()
    others: Mapping[str, Signature] | None = None
    ignored: tuple[str, ...] = ()  # the patterns that it went by
    linked: bool = False  # a name in it is a link: where that leads, no directory's times tell

    def settled_places(self) -> dict[str, Signature]:
        """Return the places that were old enough at the look: whatever happens to one shows in its signature."""
        return {place: s for place, s in self.places if self.at - s[0] >= RACY_NS and self.at - s[3] >= RACY_NS}

    def same_as(self, other: Look) -> bool:
        return self.files == other.files and self.root == other.root

    def untouched(self, now: Look) -> set[str]:
        """Return the counted files that nobody touched between this look and `now`: they were old enough to show it."""
        if now.root != self.root or os.name != "posix":  # elsewhere the last of the times is that of the creation
            return set()
        settled = self.at - RACY_NS
        return {
            name
            for name, signature in now.files.items()
            if self.files.get(name) == signature and signature[0] <= settled and signature[3] <= settled
        }

    @property
    def racy(self) -> bool:
        """Tell whether a file was so young at the look that an edit in the same tick would hide."""
        at = self.at
        return any(abs(at - s[3]) < RACY_NS or abs(at - s[0]) < RACY_NS for s in self.files.values())


def _ignored(relative: str, patterns: Sequence[str]) -> bool:
    if f"!{relative}" in patterns:  # counts, whatever else is said
        return False
    return any(fnmatch.fnmatchcase(relative, p) or fnmatch.fnmatchcase(relative, f"*/{p}") for p in patterns)


def look_at(path: str | Path, ignore: Sequence[str] = (), *, others: bool = False, before: Look | None = None) -> Look:
    """Take the signature of every .py and .json below `path` that counts, with `others` of every other file, too.

    A look from `before` may spare listing the directories. Raises OSError.
    """
    at = time.time_ns()
    if before is not None and before.ignored == tuple(ignore) and (before.others is not None) == others:
        again = _written_in_place(before, os.fspath(path), at)
        if again is not None:
            return again
    own = signature_of(_stat(path))
    walk = _Walk(_realpath(path), others)
    walk.through(walk.root)
    files, rest, escapes = walk.counted, walk.others, walk.escapes
    if ignore:
        left_out = {name: s for name, s in files.items() if _ignored(name, ignore)}
        files = {name: s for name, s in files.items() if name not in left_out}
        if rest is not None:
            rest.update(left_out)
        escapes = [name for name in escapes if not _ignored(name, ignore)]
    places = _places(at, walk.root, {os.fspath(path): own, **walk.directories}, files)
    return Look(walk.root, files, at, places, tuple(sorted(escapes)), rest, tuple(ignore), walk.linked)


def _written_in_place(before: Look, place: str, at: int) -> Look | None:
    """Return the look of now where nothing but files' contents changed since `before`, None where that can't be told.

    A directory's times tell of all that comes, goes or gets another name in it; what was written in place is the same
    inode. Of a directory further up that was moved, and a link put in its place, only the real path tells.
    """
    if not before.places or before.places[0][0] != place or before.linked or _realpath(place) != before.root:
        return None
    directories = before.places[: len(before.places) - len(before.files)]
    try:  # directories first: what comes into one after that must show at the next look
        if any(signature_of(_stat(directory)) != signature for directory, signature in directories):
            return None
        files, others = _same_inodes(before.root, before.files), _same_inodes(before.root, before.others or {})
    except OSError:
        return None
    if files is None or others is None:
        return None
    places = (*directories, *((f"{before.root}/{name}", signature) for name, signature in files.items()))
    return replace(before, files=files, at=at, places=places, others=None if before.others is None else others)


def _same_inodes(root: str, before: Mapping[str, Signature]) -> dict[str, Signature] | None:
    """Return the signatures of files as they are now, None when one isn't the same file any more; raises OSError."""
    now = {}
    for name, was in before.items():
        now[name] = signature = signature_of(_stat(f"{root}/{name}"))
        if signature[2] != was[2]:
            return None
    return now


def unchanged(look: Look) -> bool:
    """Tell by one stat of each place that nothing changed; False means: look properly."""
    stat = _stat
    try:
        for place, signature in look.places:
            s = stat(place)
            if (s.st_mtime_ns, s.st_size, s.st_ino, s.st_ctime_ns) != signature:
                return False
    except OSError:
        return False
    return bool(look.places)


def is_edited(look: Look) -> bool:
    """Tell whether a counted file was edited, replaced or removed; of new ones a proper look tells."""
    stat, root = _stat, look.root
    try:
        return any(signature_of(stat(f"{root}/{name}")) != signature for name, signature in look.files.items())
    except OSError:
        return True


def _places(
    at: int, root: str, directories: Mapping[str, Signature], files: Mapping[str, Signature]
) -> tuple[tuple[str, Signature], ...]:
    """Return what `unchanged` looks at; nothing where a directory's times don't tell of what lies in it."""
    if os.name != "posix" or any(at - s[0] < RACY_NS or at - s[3] < RACY_NS for s in directories.values()):
        return ()
    return (*directories.items(), *((f"{root}/{name}", signature) for name, signature in files.items()))


def signature_of(status: os.stat_result) -> Signature:
    """Return what tells whether a file or directory is as it was."""
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)


def stamp_of(path: Path) -> Signature | None:
    """Return the signature of what a path leads to, of the link where it leads nowhere; None for no such name."""
    for follow in (True, False):
        with suppress(OSError):
            return signature_of(_stat(path, follow_symlinks=follow))
    return None


class _Walk:
    """Collects the signatures in a tree: of directories, of .py and .json files, and, if wanted, of all the others."""

    def __init__(self, root: str, wants_others: bool) -> None:
        self.root = root
        self.directories: dict[str, Signature] = {}
        self.counted: dict[str, Signature] = {}
        self.others: dict[str, Signature] | None = {} if wants_others else None
        self.escapes: list[str] = []
        self.linked = False

    def through(self, top: str, prefix: str = "", depth: int = 0) -> None:
        """Collect what lies below `top`, whose relative name is `prefix`."""
        self.directories[top] = signature_of(_stat(top))  # before the listing: what comes in between must show
        with _scandir(top) as entries:
            for entry in entries:
                if is_noise(entry.name) or is_test(entry.name):
                    continue
                if entry.is_symlink():
                    self.linked = True
                    if not leads_inside(entry.path, self.root):
                        if not _leads_back(entry.path):
                            self.escapes.append(prefix + entry.name)
                        continue
                try:
                    if entry.is_dir():
                        if depth < MAX_DEPTH:
                            self.through(entry.path, f"{prefix}{entry.name}/", depth + 1)
                    else:
                        self._take(entry, prefix + entry.name)
                except FileNotFoundError:
                    continue  # it vanished between the listing and the look: the next look will tell
                if len(self.counted) > MAX_FILES:
                    return

    def _take(self, entry: os.DirEntry[str], name: str) -> None:
        if name.endswith((".py", ".json")):
            self.counted[name] = signature_of(entry.stat())
        elif self.others is not None and entry.is_file():
            self.others[name] = signature_of(entry.stat())


def leads_inside(path: str, root: str) -> bool:
    """Tell whether a link leads to a place below `root`; loops and links to `root` itself don't."""
    target = _realpath(path)
    return target.startswith(root + os.sep) and not path.startswith(target + os.sep)


def _leads_back(path: str) -> bool:
    """Tell whether a link leads to a directory that it lies in, or round in a circle: there is nothing to follow."""
    try:
        _stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # ELOOP
    return path.startswith(_realpath(path) + os.sep)
