"""Which files are opened, looked for in vain, or listed while something runs.

One audit hook for the process, added when recording is first asked for; it can't be removed, so it
returns at once while nobody records. Files that are only written, and those of Python itself and
of installed packages, don't count. Knows no tests.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

__all__ = ["OpenedFiles"]

_FOREIGN = tuple(
    f"{place}{os.sep}"
    for place in dict.fromkeys(
        (
            *(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
            "/proc",
            "/sys",
            "/dev",
        )
    )
)
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_LISTING = ("os.listdir", "os.scandir")
_recording: set[str] | None = None
_installed = False
_lock = threading.Lock()  # guards _installed and the exchange of _recording


class OpenedFiles:
    """Records between `start` and `stop`; one recording at a time in a process."""

    def start(self) -> None:
        """Record from now on, in all threads."""
        global _recording, _installed
        with _lock:
            if not _installed:
                sys.addaudithook(_heard)
                _installed = True
            _recording = set()

    def stop(self) -> frozenset[Path]:
        """End the recording and return absolute real paths of files and listed directories."""
        global _recording
        with _lock:
            names, _recording = _recording or set(), None
        paths = (os.path.realpath(name) for name in names)
        return frozenset(Path(path) for path in paths if not f"{path}{os.sep}".startswith(_FOREIGN))


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    names = _recording
    if names is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, (str, bytes, os.PathLike)) and _reads(mode, flags):
            _note(names, path)
    elif event in _LISTING and isinstance(arguments[0], (str, bytes, os.PathLike)):
        _note(names, arguments[0])
    elif event in _LISTING and arguments[0] is None:
        _note(names, ".")


def _reads(mode: str | None, flags: int) -> bool:
    if mode is not None:
        return "r" in mode or "+" in mode
    return (flags & _ACCESS) != os.O_WRONLY


def _note(names: set[str], path: str | bytes | os.PathLike[Any]) -> None:
    name = os.fsdecode(path)
    if not name.startswith(_FOREIGN):
        # Relative names are told apart by the directory at the time: the test may change it.
        names.add(name if os.path.isabs(name) else os.path.join(os.getcwd(), name))
