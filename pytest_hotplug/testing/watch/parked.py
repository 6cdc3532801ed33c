"""A process that waits at one point and, at each request, forks one that goes on from there.

It has one thread, or it must not fork. It buries its children and tells how they ended. It leaves
when the watcher closes its end, or is gone. Knows nothing of pytest.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_hotplug.testing.watch.channel import Channel
from pytest_hotplug.testing.watch.lifeline import Lifeline
from pytest_hotplug.testing.watch.surprises import why_not_fork

__all__ = ["Parked", "Work"]

GRACE = 3.0  # seconds that children get to end by themselves


@dataclass(frozen=True, slots=True)
class Work:
    """What the forked process is to do, with the descriptors that came along."""

    facts: dict[str, Any]
    descriptors: list[int]


class Parked:
    """Serves requests; `wait` returns in forked processes only, or with None when it is over."""

    def __init__(self, channel: Channel, lifeline: Lifeline, idle: Callable[[], None] = lambda: None) -> None:
        self.forked = 0
        self._channel = channel
        self._lifeline = lifeline
        self._idle = idle  # called a second after the last request
        self._children: dict[int, tuple[int, int]] = {}  # pidfd -> process, number of its work

    def wait(self) -> Work | None:
        """Fork at each request and return its work in the child."""
        told: list[Any] | None = []
        while told is not None:
            for facts, descriptors in told:
                work = self._serve(facts, descriptors)
                if work is not None:
                    return work
            ready = self._ready()
            for pidfd in ready & self._children.keys():
                self._bury(pidfd)
            if self._lifeline.fd in ready:
                break
            told = self._channel.receive() if self._channel.fileno() in ready else []
        self._see_children_off(GRACE if told is not None else None)
        return None

    def _ready(self) -> set[int]:
        poll = select.poll()
        for fd in (self._channel.fileno(), self._lifeline.fd, *self._children):
            poll.register(fd, select.POLLIN)
        ready = poll.poll(1000)
        if not ready:
            self._idle()
            ready = poll.poll()
        return {fd for fd, _ in ready}

    def _serve(self, facts: dict[str, Any], descriptors: list[int]) -> Work | None:
        if facts["kind"] == "preload":
            self._channel.send({"kind": "preloaded", "failed": _import_all(facts["modules"])})
            return None
        try:
            return self._fork(facts, descriptors)
        finally:
            if not self._is_child:
                for fd in descriptors:
                    os.close(fd)

    _is_child = False

    def _fork(self, facts: dict[str, Any], descriptors: list[int]) -> Work | None:
        reason = why_not_fork()
        if reason:
            self._channel.send({"kind": "refused", "reason": reason})
            return None
        self.forked += 1
        process = os.fork()
        if process == 0:
            self._is_child = True
            os.setpgid(0, 0)
            self._channel.leave()
            for pidfd in self._children:
                os.close(pidfd)
            return Work(facts, descriptors)
        with contextlib.suppress(PermissionError):  # the child was faster
            os.setpgid(process, process)
        pidfd = os.pidfd_open(process)
        self._children[pidfd] = (process, facts["number"])
        self._channel.send({"kind": "started", "process": process}, [pidfd])
        return None

    def _bury(self, pidfd: int) -> None:
        process, number = self._children.pop(pidfd)
        # Nobody will end what tests left running; until it is waited for its group cannot be another's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        os.close(pidfd)
        with contextlib.suppress(OSError):  # the watcher is gone, and nobody wants to know
            self._channel.send({"kind": "exited", "number": number, "code": os.waitstatus_to_exitcode(status)})

    def _see_children_off(self, patience: float | None) -> None:
        """Wait for them; kill those that are left when the patience is over (None: it never is)."""
        deadline = time.monotonic() + (patience or 0.0)
        while self._children:
            left = None if patience is None else max(0.0, deadline - time.monotonic())
            ready = select.select(list(self._children), [], [], left)[0]
            for pidfd in ready or list(self._children):
                self._bury(pidfd)


def _import_all(modules: list[str]) -> list[str]:
    """Import what will be needed; return what could not be, with the reason."""
    failed = []
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001  # an import may do anything, and only costs time when it fails
            failed.append(f"{name}: {type(error).__name__} {error}")
    sys.stdout.flush()
    return failed
