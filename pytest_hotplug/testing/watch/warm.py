"""One run in processes that were forked for it: heard through their pipes, ended through their groups.

The same for the watch loop as a run in a fresh process (`processes.TestRun`). Several processes make
one run: their messages become one stream, and it has come to its end when all of them have.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

from pytest_hotplug.testing.watch.peer import Forked
from pytest_hotplug.testing.watch.processes import Message
from pytest_hotplug.testing.watch.stopping import Stoppable

__all__ = ["Part", "WarmRun"]

_GOOD = (0, 1, 5)  # pytest's exit codes of a run that came to its end


class Part:
    """One process of a run: it tells in `pipe` and is answered in `answers`.

    `shown` is a file with what it printed, -1 if it printed it itself.
    """

    def __init__(self, forked: Forked, pipe: int, answers: int, shown: int = -1) -> None:
        self.forked = forked
        self.pipe = pipe
        self.answers = answers
        self.shown = shown
        self.begun = b""
        self.stopped: str | None = None  # how it says that it ended, None: it didn't say

    def lines(self) -> list[bytes]:
        """Return the complete lines of what can be read now."""
        *lines, self.begun = (self.begun + os.read(self.pipe, 1 << 16)).split(b"\n")
        return lines

    def rest(self) -> list[bytes]:
        """Return what is left in the pipe of a process that is gone; a child of a test may hold it open for long."""
        os.set_blocking(self.pipe, False)
        lines: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.pipe, 1 << 16):
                *more, self.begun = (self.begun + part).split(b"\n")
                lines += more
        return lines


class WarmRun(Stoppable):
    """A run that goes on in forked processes."""

    def __init__(self, parts: Sequence[Part], inbox: queue.SimpleQueue[Message], out: IO[Any]) -> None:
        self.processes = len(parts)
        self._parts = parts
        self._inbox = inbox
        self._out = out
        self._lock = threading.Lock()  # guards the descriptors against being closed while a signal is sent
        self._over = False
        threading.Thread(target=self._read, name="hotplug-run", daemon=True).start()

    def _read(self) -> None:
        running = {part.pipe: part for part in self._parts}
        ends = {part.forked.pidfd: part for part in self._parts}
        poll = select.poll()
        for fd in (*running, *ends):
            poll.register(fd, select.POLLIN)
        codes = []
        while ends:
            for fd, _ in poll.poll():
                part = running.get(fd)
                if part is not None:
                    lines = part.lines()
                    self._tell(part, lines)
                    if not lines and not part.begun:
                        poll.unregister(fd)  # it has closed its end
                        del running[fd]
                elif fd in ends:
                    part = ends.pop(fd)
                    poll.unregister(fd)
                    if running.pop(part.pipe, None) is not None:
                        poll.unregister(part.pipe)
                        self._tell(part, part.rest())
                    codes.append(part.forked.code.get())
        self._end(codes)

    def _tell(self, part: Part, lines: Sequence[bytes]) -> None:
        for line in lines:
            facts = json.loads(line)
            self._collected = True
            if facts["kind"] == "finished":
                part.stopped = facts["stopped"]
            else:
                self._inbox.put(("run", (self, facts)))

    def _end(self, codes: Sequence[int | None]) -> None:
        with self._lock:
            self._over = True
            for part in self._parts:
                _show(part.shown, self._out)
                for fd in (part.pipe, part.answers, part.forked.pidfd):
                    os.close(fd)
        told = [part.stopped for part in self._parts if part.stopped is not None]
        if len(told) == len(self._parts):
            stopped = next(filter(None, told), "")
            self._inbox.put(("run", (self, {"kind": "finished", "stopped": stopped})))
        self._inbox.put(("run-ended", (self, _code_of_all(codes))))

    def go_on_alone(self, process: int) -> None:
        """Let one process go on, which has got the terminal, and stop the others until `resume`."""
        with self._lock:
            for part in () if self._over else self._parts:
                _signal(part, signal.SIGCONT if part.forked.process == process else signal.SIGSTOP)

    def answer(self, process: int) -> None:
        """Tell a process that it has the terminal."""
        with self._lock:
            for part in () if self._over else self._parts:
                if part.forked.process == process:
                    os.write(part.answers, b"y")

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            for part in () if self._over else self._parts:
                _signal(part, number)

    def _wait(self, seconds: float) -> bool:
        """Don't hold up the thread that reads."""
        with self._lock:
            ends = [] if self._over else [os.dup(part.forked.pidfd) for part in self._parts]
        until = time.monotonic() + seconds
        gone = [select.select([end], [], [], max(0.0, until - time.monotonic()))[0] for end in ends]
        for end in ends:
            os.close(end)
        return all(gone)


def _signal(part: Part, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone already
        os.killpg(part.forked.process, number)


def _code_of_all(codes: Sequence[int | None]) -> int | None:
    """Return the exit code of the run: None when nobody can tell, else the worst one."""
    if None in codes:
        return None
    known = [code for code in codes if code is not None]
    bad = [code for code in known if code not in _GOOD]
    if bad:
        return bad[0]
    return next((code for code in (1, 0) if code in known), 5)


def _show(file: int, out: IO[Any]) -> None:
    """Print what a process of several has kept back, and close it."""
    if file >= 0:
        with open(file, encoding="utf-8", errors="replace") as kept:
            kept.seek(0)
            out.write(kept.read())
        out.flush()
