"""The processes that a plugin leaves: seen although their parents are gone, and ended with the child that verifies."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

import psutil

__all__ = ["adopt_orphans", "end_offspring", "end_strays"]

_PR_SET_CHILD_SUBREAPER = 36  # sys/prctl.h


def adopt_orphans() -> None:
    """Let processes whose parents end become children of this one, and not of the system's first. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_offspring() -> None:
    """End all that descends from this process, in whatever session."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def end_strays(variable: str, value: str) -> None:
    """End the processes of this user that have a variable of a child that is gone, and so descend from it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended meanwhile, or belongs to somebody else
            if process.environ().get(variable) == value:
                process.kill()
