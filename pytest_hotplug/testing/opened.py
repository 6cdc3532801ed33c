"""Which files are opened, looked for in vain, or listed while something runs.

One audit hook for the process, added when recording is first asked for; it can't be removed, so it
returns at once while nobody records. Every thread counts. What is only written or newly created
doesn't, nor do the files of Python itself and of installed packages, nor what the import system
lists. A mere `exists()` or `stat()` raises no audit event, so it stays unseen, and so does what child
processes read. Knows no tests.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

__all__ = ["OpenedFiles", "is_first_party"]

_WRITES = os.O_WRONLY | os.O_TRUNC | os.O_EXCL  # none of them reads what was there before
_METADATA = ("importlib", "metadata", "__init__.py")
_LISTING = ("os.listdir", "os.scandir")
# They list whole directories to look for one name.
_LISTERS = ("<frozen importlib._bootstrap_external>", os.path.join(os.path.dirname(os.__file__), *_METADATA))


def _foreign() -> tuple[str, ...]:
    """Return the beginnings of paths that are nobody's first-party files."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    places = [*(sysconfig.get_path(kind) for kind in kinds), "/proc", "/sys", "/dev"]
    in_virtual_environment = sys.prefix != sys.base_prefix
    if in_virtual_environment and not Path.cwd().is_relative_to(sys.prefix):  # a project may be its own environment
        places.append(sys.prefix)
    real = [os.path.realpath(place) for place in places]
    return tuple(dict.fromkeys(f"{place}{os.sep}" for place in (*places, *real)))


_FOREIGN = _foreign()
_lock = threading.Lock()  # guards _installed and the exchange of _recording
_installed = False
_recording: tuple[OpenedFiles, ...] = ()


def is_first_party(real_path: str) -> bool:
    """Tell whether a file is neither Python's own nor an installed package's."""
    return not real_path.startswith(_FOREIGN)


class OpenedFiles:
    """One recording, from `start` to `stop`; it may be started again. Several may run at once."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def start(self) -> None:
        """Record from now on, in all threads."""
        global _recording, _installed
        with _lock:
            assert self not in _recording, "a recording that runs is stopped before it starts again"
            if not _installed:
                sys.addaudithook(_heard)
                _installed = True
            self.names = set()
            _recording = (*_recording, self)

    def stop(self) -> frozenset[Path]:
        """End the recording and return absolute real paths of files and listed directories."""
        global _recording
        with _lock:
            _recording = tuple(other for other in _recording if other is not self)
        names, self.names = self.names.copy(), set()  # another thread may be about to add its last one
        paths = (os.path.realpath(name) for name in names if "\0" not in name)
        return frozenset(Path(path) for path in paths if not f"{path}{os.sep}".startswith(_FOREIGN))


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    recording = _recording
    if not recording or (event in _LISTING and sys._getframe(1).f_code.co_filename in _LISTERS):
        return
    name = _read_by(event, arguments)
    if name is None or name.startswith(_FOREIGN):
        return
    absolute = _absolute(name)
    if absolute is not None:
        for files in recording:
            files.names.add(absolute)


def _read_by(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the name that an event reads or lists; None if it does neither, or has only a descriptor."""
    if event == "open":
        name, _, flags = arguments
        wanted = not flags & _WRITES
    elif event in _LISTING:
        name, wanted = "." if arguments[0] is None else arguments[0], True
    elif event == "sqlite3.connect":  # reads in C, without an event of its own
        name, wanted = arguments[0], arguments[0] not in ("", ":memory:")
    else:
        return None
    return os.fsdecode(name) if wanted and isinstance(name, str | bytes) else None


def _absolute(name: str) -> str | None:
    """Return the name as it was meant at this moment: a test may change the directory afterwards."""
    if os.path.isabs(name):
        return name
    try:
        return os.path.join(os.getcwd(), name)
    except FileNotFoundError:
        return None  # the directory is gone, and what raises here would break the caller
