"""What makes it unsafe to fork, or to let several runs share one process that has collected.

Each answer is a reason in words, empty when there is none. Reads /proc; changes nothing.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

__all__ = [
    "descriptors",
    "let_own_threads_end",
    "why_each_run_needs_its_own",
    "why_never_warm",
    "why_not_collected",
    "why_not_fork",
]

# They clean up nothing that was made before the tests began, or what they clean up is each run's own.
_HARMLESS = ("_pytest.", "pytest_hotplug.", "xdist.", "pytest_asyncio", "pytest_timeout", "pytest_randomly",
             "pytest_cov", "_hypothesis", "anyio.")  # fmt: skip
_LAST_HOOKS = ("pytest_sessionfinish", "pytest_unconfigure")
OWN_THREADS = 2.0  # seconds; they take one
LINGERS = 0.1  # seconds that the kernel may take to end a thread
_ORDERS_BY_CACHE = ("lf", "failedfirst", "newfirst", "stepwise")


def why_never_warm(config: pytest.Config) -> str:
    """Return why the runs of this command line get a fresh process each."""
    if getattr(config.option, "cov_source", None):
        return "coverage is measured (--cov)"
    return ""


def let_own_threads_end() -> None:
    """Wait for threads of ours that end by themselves once they have nothing to do: loads run on one."""
    deadline = time.monotonic() + OWN_THREADS
    for thread in threading.enumerate():
        if thread.name == "hotplug-reload":
            thread.join(max(0.0, deadline - time.monotonic()))


def why_not_fork() -> str:
    """Return why this process must not fork now. One that was joined may still be there for a moment."""
    deadline = time.monotonic() + LINGERS
    while (others := len(os.listdir("/proc/self/task")) - 1) and time.monotonic() < deadline:
        time.sleep(0.001)
    return f"{others} more thread{'s run' if others > 1 else ' runs'} where tests are collected" if others else ""


def why_not_collected(config: pytest.Config, before: Iterable[str]) -> str:
    """Return why runs must begin before the collection; `before` are the descriptors that were open then."""
    option = config.option
    if getattr(option, "xmlpath", None):
        return "a report of the run is written (--junitxml)"
    if any(getattr(option, name, False) for name in _ORDERS_BY_CACHE):
        return "earlier results choose or order the tests"
    if getattr(option, "session_timeout", None):
        return "the session has a timeout"
    if _has_children():
        return "a process runs that collecting has started"
    shared = sorted(set(descriptors()) - set(before))
    return f"collecting leaves {shared[0]} open" if shared else ""


def why_each_run_needs_its_own(config: pytest.Config) -> str:
    """Return why a process that has collected serves one run only: its end would take away what the next one needs."""
    for hook in _LAST_HOOKS:
        for found in getattr(config.hook, hook).get_hookimpls():
            if not f"{found.function.__module__}.".startswith(_HARMLESS):
                return f"{found.plugin_name} has a {hook}"
    return ""


def descriptors() -> list[str]:
    """Return what is open and cannot be shared: sockets, and files with a name that are written."""
    return [name for fd in os.listdir("/proc/self/fd") if (name := _unshared(int(fd)))]


def _unshared(fd: int) -> str:
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
        mode = os.fstat(fd).st_mode
        flags = int(Path(f"/proc/self/fdinfo/{fd}").read_text().split("flags:")[1].split()[0], 8)
    except OSError:
        return ""  # the descriptor of the listing itself
    if stat.S_ISSOCK(mode):
        return f"a connection ({name})"
    written = stat.S_ISREG(mode) and flags & os.O_ACCMODE != os.O_RDONLY
    return name if written and not name.endswith("(deleted)") and not name.startswith("/memfd:") else ""


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
