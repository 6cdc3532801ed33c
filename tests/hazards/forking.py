"""Fork children that do something, and say how they ended."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable

LIMIT = 8.0  # seconds


def statuses_of_children(work: Callable[[], bool], number: int) -> list[int | str]:
    """Fork one child after the other, each of which does `work`; 0 is what a good one ends with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is the hazard
        return [_status_of(work) for _ in range(number)]


def _status_of(work: Callable[[], bool]) -> int | str:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if _in_time(work) else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hung"


def _in_time(work: Callable[[], bool]) -> bool:
    """Do the work on the main thread, which hangs at most until the parent ends this process."""
    assert threading.current_thread() is threading.main_thread()
    return work()
