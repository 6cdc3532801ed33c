"""Run a plugin in a child process, so that one that ends its process can't pass for a success.

The child is a fork: it costs a few milliseconds, keeps the terminal, and hands its answer over a pipe
of its own. File descriptor 1 is stderr there, for the plugin and whatever it starts. Where there is no
fork (Windows) the work is done in this process, and os._exit ends the command unnoticed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from pytest_hotplug.cli.verdict import Told, verdict
from pytest_hotplug.reloader.errors import HotplugError

__all__ = ["Interrupted", "supervised"]

FORKS = hasattr(os, "fork")
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
LOOK = 0.05  # seconds between looks whether a silent child still lives
TWICE = 1.0  # seconds; Ctrl-C reaches parent and child, and the parent passes it on as it does a kill


class Interrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C or sent a signal; a plugin that raises KeyboardInterrupt raises another one."""


@contextlib.contextmanager
def supervised(plugin: str, work: Callable[[], str]) -> Iterator[str]:
    """Do `work` in a child and give the text that it returns, as soon as it is there; wait for the child's end.

    Raises Told for whatever `work` raised, and HotplugError `[process-ended]` when the child ended
    without an answer.
    """
    if not FORKS:
        with contextlib.redirect_stdout(sys.stderr):
            text = work()
        yield text
        return
    reader, writer = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until each process knows what to do with them
    number = os.fork()
    if number == 0:
        os.close(reader)
        _be_the_child(writer, work)
    os.close(writer)
    child = _Child(plugin, number, reader)
    with child.hearing_signals():
        yield child.answer()


class _Child:
    """The process that runs a plugin, as its parent sees it."""

    def __init__(self, plugin: str, number: int, reader: int) -> None:
        self._plugin = plugin
        self._number = number
        self._reader = reader
        self._status: int | None = None
        self._interrupted = False

    @contextlib.contextmanager
    def hearing_signals(self) -> Iterator[None]:
        """Pass on every signal that asks for the end; leaves when the child has ended."""
        before = {number: signal.getsignal(number) for number in ENDING}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self._pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        try:
            yield
        finally:
            self._wait()
            os.close(self._reader)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended: its status says so
                os.kill(self._number, number)

    def answer(self) -> str:
        """Return the text that the work returned, or raise what became of it."""
        said = self._read()
        if not said.endswith(b"\n"):
            raise self._ended()
        answer: dict[str, Any] = json.loads(said)
        if "error" in answer:
            raise Told(answer["error"], answer["code"])
        return str(answer["text"])

    def _read(self) -> bytes:
        """Read one line; ends with the child, even when a process that it started still holds the pipe."""
        said = b""
        while not said.endswith(b"\n"):
            ended = self._has_ended()  # asked first: what it wrote before its end is in the pipe by then
            if select.select([self._reader], [], [], LOOK)[0]:
                part = os.read(self._reader, 1 << 16)
                if not part:
                    break
                said += part
            elif ended:
                break
        return said

    def _has_ended(self) -> bool:
        if self._status is None:
            number, status = os.waitpid(self._number, os.WNOHANG)
            self._status = status if number else None
        return self._status is not None

    def _wait(self) -> int:
        if self._status is None:
            self._status = os.waitpid(self._number, 0)[1]
        return os.waitstatus_to_exitcode(self._status)

    def _ended(self) -> Exception:
        code = self._wait()
        if self._interrupted:
            return Told("interrupted", 2)
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return HotplugError(
            f"{self._plugin}: the plugin ended its process ({how}) before there was a result.\n"
            "  Look for os._exit, a crash in a compiled package, or a signal. [process-ended]"
        )


def _be_the_child(writer: int, work: Callable[[], str]) -> NoReturn:
    """Do the work, hand over the answer, and end as an interpreter does; never returns into our caller."""
    code = 1
    try:
        os.dup2(2, 1)
        _take_signals()
        answer, code = _done(work)
        with open(writer, "wb") as pipe:
            pipe.write(json.dumps(answer).encode() + b"\n")
        threading._shutdown()  # type: ignore[attr-defined]  # joins threads that are no daemons, as multiprocessing does
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def _done(work: Callable[[], str]) -> tuple[dict[str, Any], int]:
    try:
        return {"text": work()}, 0
    except BaseException as error:  # noqa: BLE001  # a fork must not run on in our caller's code
        message, code = verdict(error)
        return {"error": message, "code": code}, code


def _take_signals() -> None:
    """Raise Interrupted at a signal, once for the two that one Ctrl-C becomes."""
    last = -TWICE

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TWICE:
            last = now
            raise Interrupted

    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
