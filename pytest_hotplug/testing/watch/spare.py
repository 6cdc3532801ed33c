"""A process that was forked ahead, with its own memory already, and waits for its work.

It has done nothing else by then, and it ends with whoever forked it or with the watcher. Its parent
gives it one piece of work, or ends it.
"""

from __future__ import annotations

import os
import select
import signal
import traceback
from collections.abc import Sequence
from typing import Any

from pytest_hotplug.testing.watch.channel import Channel, Received
from pytest_hotplug.testing.watch.lifeline import Lifeline
from pytest_hotplug.testing.watch.pages import copy_shared_pages

__all__ = ["Spare", "wait_as_spare"]


class Spare:
    """The process as its parent sees it."""

    def __init__(self, process: int, channel: Channel) -> None:
        self.process = process
        self.pidfd = os.pidfd_open(process)
        self.is_ready = False
        self._channel = channel

    def fileno(self) -> int:
        """Return what `poll` waits for."""
        return self._channel.fileno()

    def hear(self) -> bool:
        """Take in what it says; False when it is gone."""
        self.is_ready = self._channel.receive() is not None
        return self.is_ready

    def take(self, facts: dict[str, Any], descriptors: Sequence[int]) -> bool:
        """Let it do this; False when it can't. From then on it is a child as others."""
        try:
            self._channel.send(facts, descriptors)
        except OSError:
            return False
        self._channel.leave()
        return True

    def end(self) -> None:
        """Kill it and wait for it; it has nothing to tear down."""
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        self.forget()

    def forget(self) -> None:
        """Close what this process holds of it."""
        self._channel.leave()
        os.close(self.pidfd)


def wait_as_spare(channel: Channel, lifeline: Lifeline) -> Received:
    """Get ready, then wait for the work and return it; without any, this process ends here."""
    try:
        copy_shared_pages()
        channel.send({"kind": "ready"})
        poll = select.poll()
        for fd in (channel.fileno(), lifeline.fd):
            poll.register(fd, select.POLLIN)
        told: list[Received] | None = []
        while told == []:  # a long message comes in parts
            ready = {fd for fd, _ in poll.poll()}
            told = channel.receive() if lifeline.fd not in ready else None
        channel.leave()
    except OSError:  # the parent is gone
        told = None
    except BaseException:  # noqa: BLE001  # nobody above us may go on in two processes
        traceback.print_exc()
        told = None
    if not told:
        os._exit(0)
    (work,) = told
    return work
