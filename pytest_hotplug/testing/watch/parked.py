"""A process that waits at one point and, at each request, forks one that goes on from there.

It has one thread, or it must not fork. It buries its children and tells how they ended. It leaves
when the watcher closes its end, or is gone. Knows nothing of pytest.

While nothing runs it may keep a spare, to which the next request is only passed on.
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
from pytest_hotplug.testing.watch.spare import Spare, wait_as_spare
from pytest_hotplug.testing.watch.surprises import why_not_fork

__all__ = ["Parked", "Work"]

GRACE = 3.0  # seconds that children get to end by themselves


@dataclass(frozen=True, slots=True)
class Work:
    """What the forked process is to do, with the descriptors that came along."""

    facts: dict[str, Any]
    descriptors: list[int]


class Parked:
    """Serves requests; `wait` returns in forked processes only, or with None when it is over.

    `idle` is called a second after the last request; with `keeps_spare` a process is forked ahead.
    """

    def __init__(
        self,
        channel: Channel,
        lifeline: Lifeline,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.last = 0  # the number of the last work
        self._channel = channel
        self._lifeline = lifeline
        self._idle = idle
        self.keeps_spare = False
        self._spare: Spare | None = None
        self._children: dict[int, tuple[int, int]] = {}  # pidfd -> process, number of its work

    def wait(self) -> Work | None:
        """Fork at each request and return its work in the child."""
        told: list[Any] | None = []
        while told is not None:
            for facts, descriptors in told:
                work = self._serve(facts, descriptors)
                if work is not None:
                    return work
            if self.keeps_spare and self._spare is None and not self._children:
                work = self._fork_spare()
                if self._is_child:
                    return work
            ready = self._ready()
            for pidfd in ready & self._children.keys():
                self._bury(pidfd)
            if self._spare is not None and self._spare.fileno() in ready and not self._spare.hear():
                self.keeps_spare = False  # somebody kills them: from now on each request is forked for
                self._end_spare(self._spare)
            if self._lifeline.fd in ready:
                break
            told = self._channel.receive() if self._channel.fileno() in ready else []
        if self._spare is not None:
            self._end_spare(self._spare)
        self._see_children_off(GRACE if told is not None else None)
        return None

    def _ready(self) -> set[int]:
        poll = select.poll()
        spare = [self._spare.fileno()] if self._spare is not None else []
        for fd in (self._channel.fileno(), self._lifeline.fd, *spare, *self._children):
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
        self.last = facts["number"]
        if self._pass_on(facts, descriptors):
            return None
        reason = why_not_fork()
        if reason:
            self._channel.send({"kind": "refused", "reason": reason})
            return None
        process = self._fork_child()
        if process == 0:
            return Work(facts, descriptors)
        self._tell_started(process, os.pidfd_open(process), facts["number"])
        return None

    def _fork_child(self) -> int:
        """Fork a process in a group of its own that holds nothing of ours; return 0 in it."""
        process = os.fork()
        if process:
            with contextlib.suppress(PermissionError):  # the child was faster
                os.setpgid(process, process)
            return process
        self._is_child = True
        os.setpgid(0, 0)
        self._channel.leave()
        for pidfd in self._children:
            os.close(pidfd)
        if self._spare is not None:
            self._spare.forget()
        return 0

    def _tell_started(self, process: int, pidfd: int, number: int) -> None:
        self._children[pidfd] = (process, number)
        self._channel.send({"kind": "started", "process": process}, [pidfd])

    # -- the spare ------------------------------------------------------------------------------

    def _fork_spare(self) -> Work | None:
        """Fork ahead; return its work in the child, once there is some."""
        if why_not_fork():
            self.keeps_spare = False  # whoever asks for a fork will be told
            return None
        ours, theirs = Channel.pair()
        process = self._fork_child()
        if process == 0:
            ours.leave()
            return Work(*wait_as_spare(Channel(theirs), self._lifeline))
        theirs.close()
        self._spare = Spare(process, ours)
        return None

    def _pass_on(self, facts: dict[str, Any], descriptors: list[int]) -> bool:
        """Let the spare do it, if there is one that can."""
        spare = self._spare
        if spare is None or not spare.is_ready:
            return False
        if not spare.take(facts, descriptors):
            self._end_spare(spare)
            return False
        self._spare = None
        self._tell_started(spare.process, spare.pidfd, facts["number"])
        return True

    def _end_spare(self, spare: Spare) -> None:
        self._spare = None
        spare.end()

    # -- ends -----------------------------------------------------------------------------------

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
