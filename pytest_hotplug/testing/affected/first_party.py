"""Which files belong to the project, and the names that they have in the map.

A name is the path from the root with slashes, or the absolute path of a file outside it that is
nobody else's either (a package beside the project). Python, installed packages, caches, the state
directory and temporary files don't count. Copies in a sandbox have the names of their originals.
Looks at the disk only to follow links.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["FirstParty", "directories_above"]

_NOBODYS = {
    ".git", ".hg", ".svn", ".tox", ".nox", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis",
    "__pycache__", "node_modules", "site-packages", "dist-packages",
}  # fmt: skip
_MOST_LINKS = 40  # on one way, as the system allows: links can lead in a circle
_SYSTEM = ("/usr", "/etc", "/lib", "/lib64", "/bin", "/sbin", "/proc", "/sys", "/dev", "/run")


def _below(places: Iterable[str]) -> tuple[str, ...]:
    real = [os.path.realpath(place) for place in places]
    return tuple(dict.fromkeys(f"{place.rstrip(os.sep)}{os.sep}" for place in (*places, *real)))


class FirstParty:
    """Answers for one project; remembers its answers, as the same files are asked for again and again."""

    def __init__(self, root: Path, excluded: Iterable[Path] = ()) -> None:
        self.root = os.path.realpath(root)
        self._inside = f"{self.root.rstrip(os.sep)}{os.sep}"
        kinds = ("stdlib", "platstdlib", "purelib", "platlib")
        environment = [sys.prefix] if sys.prefix != sys.base_prefix else []
        python = [sysconfig.get_path(kind) for kind in kinds]
        ourselves = os.fspath(Path(__file__).resolve().parents[2])
        foreign = [place for place in (*python, *environment) if not _holds(place, self.root)]
        if not ourselves.startswith(self._inside):  # an editable installation is none of the project's code
            foreign.append(ourselves)
        self._foreign = _below([*foreign, *map(str, excluded)])
        self._outside = _below([*_SYSTEM, tempfile.gettempdir()])  # of no interest unless the root lies there
        self._names: dict[str, str] = {}
        self._links: dict[str, tuple[str, ...]] = {}
        self._copies: dict[str, str] = {}

    def copied(self, copy: str, original: str) -> None:
        """Let the files below `copy` have the names of those below `original`."""
        self._copies[copy] = self._copies[os.path.realpath(copy)] = os.path.realpath(original)

    def is_copy(self, path: str) -> bool:
        """Tell whether a path lies in a sandbox's copy."""
        return bool(self._copies) and self._original(path) is not None

    def name(self, path: str) -> str:
        """Return the name of an absolute path, "" when it isn't first-party."""
        known = self._names.get(path)
        if known is None:
            known = self._name(path)
            if known or not self._copies:  # a copy may yet come to lie there
                self._names[path] = known
        return known

    def links(self, path: str) -> tuple[str, ...]:
        """Return the names of the links inside the project that an absolute path leads through."""
        self.name(path)
        return self._links.get(path, ())

    def path(self, name: str) -> str:
        """Return the absolute path behind a name."""
        return os.path.join(self.root, name)

    def _name(self, path: str) -> str:
        if "\0" in path:
            return ""
        real = os.path.realpath(path)
        if real != path:
            self._links[path] = tuple(self._links_on(path))
        if self._copies:
            real = self._original(real) or real
        return self._name_of(real)

    def _name_of(self, real: str) -> str:
        if real == self.root:
            return "."
        if f"{real}{os.sep}".startswith(self._foreign):
            return ""
        if not real.startswith(self._inside):
            return "" if f"{real}{os.sep}".startswith(self._outside) else real
        inside = real[len(self._inside) :].split(os.sep)
        return "" if _NOBODYS.intersection(inside) else "/".join(inside)

    def _links_on(self, path: str) -> Iterator[str]:
        """Yield the links that a path leads through, also those that links lead to, by their own names."""
        place, ahead, left = os.sep, path.split(os.sep)[::-1], _MOST_LINKS
        while ahead and left:
            part = ahead.pop()
            place = os.path.dirname(place) if part == os.pardir else os.path.normpath(os.path.join(place, part))
            if not os.path.islink(place):
                continue
            left -= 1
            name = self._name_of((self._original(place) if self._copies else None) or place)
            if name and not os.path.isabs(name):
                yield name
            target = os.readlink(place)
            place = os.sep if os.path.isabs(target) else os.path.dirname(place)
            ahead += target.split(os.sep)[::-1]

    def _original(self, path: str) -> str | None:
        place, above = path, os.path.dirname(path)
        while place not in self._copies:
            if place == above:
                return None
            place, above = above, os.path.dirname(above)
        return self._copies[place] + path[len(place) :]


def directories_above(name: str) -> Iterator[str]:
    """Yield the names of the directories that something named lies in, the nearest first; the root's is "."."""
    while name not in ("", "/", "."):
        name = os.path.dirname(name) or "."
        yield name


def _holds(place: str, root: str) -> bool:
    """Tell whether the project lies in this place, as one does that is its own environment."""
    return f"{root}{os.sep}".startswith(f"{os.path.realpath(place)}{os.sep}")
