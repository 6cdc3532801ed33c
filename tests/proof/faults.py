"""Let system calls fail at a point of one's choice, by wrapping the names through which a module reaches them.

Every call through a wrapped name is a point; a `Faults` lets the n-th fail: once, or all from then on, or
from then on all of its kind.
Where a real call would have had an effect before it failed (half a file written, a descriptor
closed), so has the injected one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from pytest_hotplug.reloader import file_lock, fingerprint, looking, store, trust

__all__ = ["MODES", "Faults", "Mode", "through_reads", "through_writes"]

Mode = Literal["once", "its kind", "everything"]
MODES: tuple[Mode, ...] = get_args(Mode)
SHORT, ENDED = "a short read", "an early end"  # beside error numbers: what a read may do
READS: dict[str, tuple[int | str, ...]] = {
    "stat": (errno.EACCES, errno.EIO, errno.ENOENT),
    "realpath": (errno.EIO, errno.ENOENT),
    "scandir": (errno.EACCES, errno.EIO, errno.ENOENT, errno.EMFILE),
    "next": (errno.EIO, errno.ENOENT),
    "entry": (errno.EIO, errno.ENOENT, errno.EACCES),
    "open": (errno.EACCES, errno.EIO, errno.ENOENT, errno.EMFILE, errno.ENOSPC),
    "fstat": (errno.EIO, errno.ENOENT),
    "read": (errno.EIO, SHORT, ENDED, errno.ENOSPC),
    "close": (errno.EIO,),
    "trust": (errno.EACCES, errno.EIO, errno.ENOENT),
}
WRITES = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.EACCES)


class Faults:
    """Counts the calls that pass, and lets the chosen ones fail."""

    def __init__(self) -> None:
        self.points: list[str] = []  # the calls since the last `arm`, by the kind of what was called
        self._at = -1
        self._error: int | str = 0
        self._mode: Mode = "once"
        self.fired = 0
        self._vanished: set[str] = set()  # directories in which something was not there for a while

    def arm(self, at: int, error: int | str, mode: Mode = "once") -> None:
        """Let the call number `at` from now on fail with `error`, and then those that `mode` says."""
        self.points.clear()
        self._at, self._error, self._mode, self.fired = at, error, mode, 0

    def disarm(self) -> None:
        self.points.clear()
        self._at = -1
        while self._vanished:
            os.utime(self._vanished.pop())

    def due(self, kind: str) -> int | str:
        """Count one call; return what it must do instead of its work, 0 for nothing."""
        number = len(self.points)
        self.points.append(kind)
        if self._at < 0 or number < self._at or (number > self._at and self._mode == "once"):
            return 0
        if self._mode == "its kind" and kind != self.points[self._at]:
            return 0
        if isinstance(self._error, str) and kind != "read":
            return 0
        self.fired += 1
        return self._error

    def check(self, kind: str, path: object = None) -> None:
        """Count one call; raises OSError when it is to fail."""
        error = self.due(kind)
        if isinstance(error, int) and error:
            if error == errno.ENOENT and isinstance(path, (str, Path)):  # going and coming back changes the directory
                self._vanished.add(os.path.dirname(path))
                os.utime(os.path.dirname(path))
            raise OSError(error, os.strerror(error), path)

    def wrapped(self, kind: str, function: Callable[..., Any], path: object = None) -> Callable[..., Any]:
        """Return `function` (of `path`, or of its first argument), failing before its effect."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.check(kind, args[0] if path is None and args else path)
            return function(*args, **kwargs)

        return call


class _Like:
    """A module or object with some of its attributes replaced."""

    def __init__(self, original: Any, **replaced: Any) -> None:
        self._original = original
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Entries:
    """What scandir returns; its steps, and what its entries are asked, are points too."""

    def __init__(self, entries: Any, faults: Faults) -> None:
        self._entries = entries
        self._faults = faults

    def __enter__(self) -> Iterator[Any]:
        self._entries.__enter__()
        return self._each()

    def __exit__(self, *error: object) -> None:
        self._entries.__exit__(*error)

    def _each(self) -> Iterator[Any]:
        for entry in self._entries:
            self._faults.check("next", entry.path)
            asked = {
                name: self._faults.wrapped("entry", getattr(entry, name), entry.path) for name in ("is_dir", "stat")
            }
            yield _Like(entry, **asked)
        self._faults.check("next")


def through_reads(patch: pytest.MonkeyPatch) -> Faults:
    """Wrap everything through which the reloader reads a plugin's files."""
    faults = Faults()

    def scandir(path: Any) -> _Entries:
        faults.check("scandir", path)
        return _Entries(os.scandir(path), faults)

    names: dict[int, str] = {}

    def opened(path: str, flags: int) -> int:
        faults.check("open", path)
        fd = os.open(path, flags)
        names[fd] = path
        return fd

    def read(fd: int, length: int) -> bytes:
        error = faults.due("read")
        if isinstance(error, int) and error:
            raise OSError(error, os.strerror(error))
        if error == ENDED and names[fd].endswith((".py", ".json")):  # other files are what they are at that moment
            return b""
        return os.read(fd, 1 if error == SHORT else length)

    def close(fd: int) -> None:
        os.close(fd)  # the descriptor is gone even when close says that something went wrong
        faults.check("close", fd)

    patch.setattr(looking, "_stat", faults.wrapped("stat", os.stat))
    patch.setattr(looking, "_scandir", scandir)
    for module in (looking, fingerprint):
        patch.setattr(module, "_realpath", faults.wrapped("realpath", os.path.realpath))
    patch.setattr(fingerprint, "_fstat", faults.wrapped("fstat", os.fstat))
    patch.setattr(fingerprint, "_open", opened)
    patch.setattr(fingerprint, "_read", read)
    patch.setattr(fingerprint, "_close", close)
    patch.setattr(trust, "os", _Like(os, stat=faults.wrapped("trust", os.stat)))
    return faults


class _File:
    """An open file on a disk that fills up: the write that fails has written half."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        error = self._faults.due("write")
        self._file.write(data[: len(data) // 2] if error else data)
        if error:
            self._file.flush()
            raise OSError(error, os.strerror(int(error)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_OF_OS = ("rename", "replace", "fsync", "makedirs", "chmod")


def through_writes(patch: pytest.MonkeyPatch, root: Path) -> Faults:
    """Wrap everything through which the store writes below `root`."""
    faults = Faults()

    def opened(path: Any, mode: str = "r", **kwargs: Any) -> Any:
        if "r" in mode:
            return open(path, mode, **kwargs)
        faults.check("open", path)
        return _File(open(path, mode, **kwargs), faults)

    def below(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *args: Any, **kwargs: Any) -> Any:
            if not path.is_relative_to(root):
                return function(path, *args, **kwargs)
            error = faults.due(kind)
            if error:
                raise OSError(error, os.strerror(int(error)), str(path))
            return function(path, *args, **kwargs)

        return call

    names = {name: faults.wrapped(name, getattr(os, name)) for name in _OF_OS}
    patch.setattr(store, "os", _Like(os, **names))
    patch.setattr(store, "open", opened, raising=False)
    patch.setattr(store, "shutil", _Like(shutil, rmtree=_removing(faults, shutil.rmtree)))
    patch.setattr(file_lock, "os", _Like(os, open=faults.wrapped("lock", os.open)))
    patch.setattr(Path, "mkdir", below("mkdir", Path.mkdir))
    return faults


def _removing(faults: Faults, rmtree: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, ignore_errors: bool = False) -> None:
        if ignore_errors and faults.due("rmtree"):
            return
        if not ignore_errors:
            faults.check("rmtree", path)
        rmtree(path, ignore_errors=ignore_errors)

    return call
