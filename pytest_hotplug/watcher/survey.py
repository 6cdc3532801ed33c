"""One look over the roots: what is there now, and which directories would tell of a change.

Everything is collected under the name the caller uses (below a root, links left as they are) and
under its real path, because events speak of real paths only. Touches nothing whose name is noise,
survives whatever vanishes under its feet, and opens no file. For the watcher only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pytest_hotplug.watcher.links import Trail, follow
from pytest_hotplug.watcher.names import is_noise

# Directories reached through links can multiply without end although none of them is a loop.
_MOST_LINKED_DIRECTORIES = 1_000

_DIRECTORY_SIZE = -1


class Signature(NamedTuple):
    """What the file system says of one file; two of them are only ever compared for equality."""

    mtime_ns: int
    size: int
    inode: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Take a file's signature; of a directory only its identity counts, its times tell noise too."""
        if stat.S_ISDIR(status.st_mode):
            return cls(0, _DIRECTORY_SIZE, status.st_ino, 0)
        return cls(status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)

    @property
    def is_directory(self) -> bool:
        """Whether this is the signature of a directory."""
        return self.size == _DIRECTORY_SIZE


Identity = tuple[int, int]  # device and inode: a directory replaced under the same name is another one


@dataclass(frozen=True, slots=True)
class Survey:
    """Hold the result of one look."""

    seen: Mapping[str, Signature]  # named path -> signature
    directories: Mapping[str, list[str]]  # real directory -> the names it is known by
    hinges: Mapping[str, set[str]]  # real path -> the named paths it redirects
    watched: Mapping[str, Identity]  # real directories that must be listened to
    blind: bool  # something must be looked at again although nothing will tell when
    cut_at: str | None  # the first linked directory that was left out


def survey(roots: Iterable[str]) -> Survey:
    """Look over every root (absolute; may be missing, may be a link)."""
    walk = _Walk()
    for root in roots:
        walk.enter(root)
    return walk.result()


class _Walk:
    def __init__(self) -> None:
        self.seen: dict[str, Signature] = {}
        self.directories: dict[str, list[str]] = {}
        self.hinges: dict[str, set[str]] = {}
        self.identities: dict[str, Identity] = {}
        self.linked = 0
        self.blind = False
        self.cut_at: str | None = None
        # A list, not recursion: the depth of a hostile tree is no limit of ours.
        self.ahead: list[tuple[str, str, tuple[str, ...]]] = []

    def enter(self, root: str) -> None:
        self._note_trail(trail := follow(root), root)
        if trail.found:
            self.ahead.append((root, trail.end, ()))
        while self.ahead:
            self._visit(*self.ahead.pop())

    def _visit(self, named: str, real: str, above: tuple[str, ...]) -> None:
        try:
            status = os.lstat(real)
        except OSError as error:
            self._excuse(error)
            return
        self.seen[named] = Signature.of(status)
        # `above` holds the real directories this name passed through: one of them again is a loop.
        if stat.S_ISDIR(status.st_mode) and real not in above:
            self.identities[real] = (status.st_dev, status.st_ino)
            self._list(named, real, (*above, real))

    def _list(self, named: str, real: str, above: tuple[str, ...]) -> None:
        try:
            with os.scandir(real) as listing:
                entries = [entry for entry in listing if not is_noise(entry.name)]
        except OSError as error:
            self._excuse(error)
            return
        self.directories.setdefault(real, []).append(named)
        for entry in entries:
            child = os.path.join(named, entry.name)
            if entry.is_symlink():
                self._visit_link(child, entry.path, above)
            else:
                self.ahead.append((child, entry.path, above))

    def _visit_link(self, named: str, link: str, above: tuple[str, ...]) -> None:
        self._note_trail(trail := follow(link), named)
        if not trail.found:
            return
        if os.path.isdir(trail.end):
            self.linked += 1
            if self.linked > _MOST_LINKED_DIRECTORIES:
                self.cut_at = self.cut_at or named
                return
        self.ahead.append((named, trail.end, above))

    def _excuse(self, error: OSError) -> None:
        """Pass over what vanished or is closed to us: the directory above tells when that changes.

        Nothing tells when a failing disk or an exhausted system is well again.
        """
        self.blind |= not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)

    def _note_trail(self, trail: Trail, named: str) -> None:
        for hinge in trail.hinges:
            self.hinges.setdefault(hinge, set()).add(named)

    def result(self) -> Survey:
        watched = {real: self.identities[real] for real in self.directories}
        outside = {os.path.dirname(hinge) for hinge in self.hinges} - watched.keys()
        found = {directory: _readable_identity(directory) for directory in outside}
        watched.update({directory: identity for directory, identity in found.items() if identity})
        blind = self.blind or any(identity is None for identity in found.values())
        return Survey(self.seen, self.directories, self.hinges, watched, blind, self.cut_at)


def _readable_identity(directory: str) -> Identity | None:
    """Identify a directory that can be listened to, which takes the right to list it."""
    try:
        os.scandir(directory).close()
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino
