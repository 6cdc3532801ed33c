"""What the watched files hold, by MD5: a touch or a save without change is no change.

Looks at signatures first and reads only what differs. Knows neither tests nor plugins.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.reloader.digests import hash_of
from pytest_hotplug.reloader.looking import RACY_NS, Signature
from pytest_hotplug.reloader.names import is_noise

__all__ = ["Contents"]

_SKIPPED = {"node_modules", "build", "dist", "htmlcov", "logs"}
_MOST_LINKED_DIRECTORIES = 1_000  # below one root; as the watcher: links can multiply without end


@dataclass(frozen=True, slots=True)
class _Known:
    signature: Signature
    md5: str
    racy: bool  # read so soon after a write that another one may hide behind the same signature


class Contents:
    """The MD5 of every file below some roots, as of the last look."""

    def __init__(self, roots: Iterable[Path], top: Path, own: Path | None) -> None:
        self._roots = tuple(roots)
        self._own = own  # what we write ourselves: its changes would never end
        self._top = top
        self._known: dict[Path, _Known] = {}
        self.look()

    def look(self) -> frozenset[Path]:
        """Look at every file again; return those that are new, gone or hold other bytes."""
        present = set(self._files())
        changed = {path for path in present if self._look_at(path)}
        gone = self._known.keys() - present
        for path in gone:
            del self._known[path]
        return frozenset(changed | gone)

    def existing(self) -> frozenset[Path]:
        """Return the files that there were."""
        return frozenset(self._known)

    def look_below(self, paths: Iterable[Path]) -> frozenset[Path]:
        """Look again at these files and at everything below these directories."""
        changed: set[Path] = set()
        for path in paths:
            if path.is_file():
                changed |= {path} if not _is_skipped(path) and self._look_at(path) else set()
                continue
            inside = set(_walk(path)) if path.is_dir() else set()
            changed |= {file for file in inside if not _is_skipped(file) and self._look_at(file)}
            below = f"{path}{os.sep}"
            for file in [file for file in self._known if file == path or str(file).startswith(below)]:
                if file in inside:
                    continue
                if not file.is_file():
                    del self._known[file]
                    changed.add(file)
        return frozenset(changed)

    def add_roots(self, roots: Iterable[Path]) -> None:
        """Cover more directories from the next look on."""
        self._roots = tuple(dict.fromkeys((*self._roots, *roots)))

    def look_at_top(self) -> frozenset[Path]:
        """Look at the files that lie directly in the project's root, which no watch covers."""
        return self.look_below(path for path in (*_files_in(self._top), *self._known) if path.parent == self._top)

    def _look_at(self, path: Path) -> bool:
        """Bring one file up to date; tell whether its content changed."""
        if path == self._own:
            return False
        known = self._known.get(path)
        now = time.time_ns()
        try:
            stat = path.stat()
            signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_ctime_ns)
            if known is not None and known.signature == signature and not known.racy:
                return False
            md5 = hash_of(path.read_bytes())
        except OSError:
            return self._known.pop(path, None) is not None
        racy = abs(now - stat.st_ctime_ns) < RACY_NS
        self._known[path] = _Known(signature, md5, racy)
        return known is None or known.md5 != md5

    def _files(self) -> Iterator[Path]:
        yield from _files_in(self._top)
        for root in self._roots:
            yield from _walk(root)


def watch_roots(top: Path, plugin_dirs: Iterable[Path]) -> tuple[Path, ...]:
    """Return the directories to watch: the plugin dirs, and what lies in the project but is no environment."""
    inside = [
        entry
        for entry in sorted(_entries(top))
        if entry.is_dir() and not _is_skipped(entry) and not (entry / "pyvenv.cfg").exists()
    ]
    outside = [path for path in plugin_dirs if not any(path.is_relative_to(entry) for entry in inside)]
    return tuple(dict.fromkeys((*inside, *outside)))


def _is_skipped(path: Path) -> bool:
    return is_noise(path.name) or path.name in _SKIPPED or path.name.endswith(".egg-info")


def _files_in(directory: Path) -> list[Path]:
    return [path for path in _entries(directory) if path.is_file() and not _is_skipped(path)]


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:  # it is gone, or closed to us
        return []


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files below a directory, also through links; every path is named as the watcher names it."""
    linked = 0
    ahead: list[tuple[str, tuple[tuple[int, int], ...]]] = [(os.fspath(root), ())]
    while ahead:
        directory, above = ahead.pop()
        try:
            status = os.stat(directory)
            entries = list(os.scandir(directory))
        except OSError:
            continue
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link that leads to a directory around itself
            continue
        for entry in entries:
            if _is_skipped(Path(entry.name)):
                continue
            if not entry.is_dir():
                yield Path(entry.path)
            elif not entry.is_symlink() or (linked := linked + 1) <= _MOST_LINKED_DIRECTORIES:
                ahead.append((entry.path, (*above, here)))
