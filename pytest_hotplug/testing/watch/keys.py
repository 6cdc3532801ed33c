"""Keys at any time: the terminal in cbreak mode, always put back.

Whoever suspends the watch (Ctrl-Z) gets the terminal as it was, and the watch takes it again when
it is brought to the foreground; in the background it reads no key. Without a terminal there are no
keys. Knows nothing of what they mean.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import os
import queue
import re
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Keys", "is_terminal"]

# One key: arrows and the like are sequences that begin as Escape does, and none of their letters is a key of its own.
_KEY = re.compile(r"\x1b[\[O][0-9;?]*[ -/]*[@-~]|\x1b[^\x1b]|.", re.DOTALL)


def is_terminal(stream: Any) -> bool:
    """Tell whether a standard stream is a terminal; one that was closed is None."""
    return stream is not None and not stream.closed and bool(stream.isatty())


class Keys:
    """Reads single keys from the terminal into a queue; a context manager, for the main thread.

    `on_suspend` is called before the process stops, `on_resume` when it goes on. Signals are only put into
    the queue, as ("suspend", None) and ("continue", None), to call `suspend_if_wanted` and `resume` for, since
    a handler may interrupt anything, also itself.
    """

    def __init__(
        self, inbox: queue.SimpleQueue[Any], on_suspend: Callable[[], None], on_resume: Callable[[], None]
    ) -> None:
        self._inbox = inbox
        self._on_suspend = on_suspend
        self._on_resume = on_resume
        self._saved: list[Any] | None = None  # the terminal as it was; None while we don't have it
        self._lent: tuple[int, list[Any]] | None = None  # the group that has it from us, and the terminal as it was
        self._reading = threading.Lock()  # held while a key is read, and while it is taken care that none is
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character may come in two parts
        self._handlers: dict[int, Any] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._ending = False
        self._stops = False  # a signal asked us to stop, and we have not yet
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Keys:
        if is_terminal(sys.stdin):
            atexit.register(self._restore)
            if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
                self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._hear)
            self._handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._hear)
            self._take()
            self._thread = threading.Thread(target=self._read, name="hotplug-keys", daemon=True)
            self._thread.start()
        return self

    # -- the terminal ---------------------------------------------------------------------------

    def retake(self) -> None:
        """Take the terminal if we lost it and have it again: a shell's `fg` tells nothing to a job that runs."""
        if self._thread is not None and self._saved is None and self._lent is None:
            self._take()

    def lend(self, group: int) -> bool:
        """Give the terminal, as it was, to another process group; False when it isn't ours at this moment."""
        if self._thread is None or self._saved is None or _has_somebody_else(fd := sys.stdin.fileno()):
            return False
        with self._reading:
            self._lent = (group, self._saved)
            self._restore()
        os.write(self._wake_write, b"x")
        give_terminal(fd, group)
        return True

    def take_back(self) -> None:
        """Have the terminal again, in whatever state it was left; not if the shell has it by now."""
        lent, self._lent = self._lent, None
        assert lent is not None, "it was lent"
        group, before = lent
        fd = sys.stdin.fileno()
        with contextlib.suppress(OSError, termios.error):  # it was closed: there is nothing to take
            if os.tcgetpgrp(fd) == group:
                give_terminal(fd, os.getpgrp())
                termios.tcsetattr(fd, termios.TCSADRAIN, before)
        self._take()

    def _take(self) -> None:
        """Switch the terminal to single keys, unless a shell has it at this moment."""
        fd = sys.stdin.fileno()
        if _has_somebody_else(fd):
            return
        if self._saved is None:
            self._saved = termios.tcgetattr(fd)
        tty.setcbreak(fd, termios.TCSADRAIN)
        os.write(self._wake_write, b"x")

    def _restore(self) -> None:
        saved, self._saved = self._saved, None
        if saved is not None and not _has_somebody_else(fd := sys.stdin.fileno()):
            with contextlib.suppress(termios.error):  # it was closed: there is nothing to put back
                termios.tcsetattr(fd, termios.TCSADRAIN, saved)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._stops = number == signal.SIGTSTP  # a SIGCONT cancels a stop that has not come yet
        self._inbox.put(("suspend" if self._stops else "continue", None))

    def suspend_if_wanted(self) -> None:
        """Stop, unless somebody has continued us since that was asked for."""
        if self._stops:
            self.suspend()

    def suspend(self) -> None:
        """Stop as if there were no handler, with the terminal put back; goes on when continued."""
        if signal.SIGTSTP not in self._handlers:
            return  # who started us wants no job control
        self._stops = False
        self._on_suspend()
        self._restore()
        os.write(self._wake_write, b"x")  # what is typed from now on is none of ours
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)  # this thread: it has stopped before the next line
        signal.signal(signal.SIGTSTP, self._hear)
        self.resume()

    def resume(self) -> None:
        """Have what is ours of the terminal, and go on."""
        if self._lent is not None and not _has_somebody_else(fd := sys.stdin.fileno()):
            give_terminal(fd, self._lent[0])  # the shell gave us what we have lent
        self._on_resume()
        if self._lent is None:
            self._take()

    # -- the keys -------------------------------------------------------------------------------

    def _read(self) -> None:
        fd = sys.stdin.fileno()
        while not self._ending:
            ready, _, _ = select.select([self._wake_read, *([fd] if self._saved is not None else [])], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 64)
            else:
                self._read_keys(fd)

    def _read_keys(self, fd: int) -> None:
        with self._reading:
            if self._saved is None or not select.select([fd], [], [], 0)[0]:
                return  # it was lent or a shell had it meanwhile: what was typed was for somebody else
            try:
                typed = os.read(fd, 64)
            except OSError:
                typed = b""
        if not typed:  # it was hung up, and SIGHUP did not end us
            self._ending = True
            self._inbox.put(("quit", None))
        for key in _KEY.findall(self._decoder.decode(typed)):
            self._inbox.put(("key", key))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._ending = True
        os.write(self._wake_write, b"x")
        if self._thread is not None:
            self._thread.join()
        if self._lent is not None:
            self.take_back()
        self._restore()
        atexit.unregister(self._restore)
        os.close(self._wake_read)
        os.close(self._wake_write)


def give_terminal(fd: int, group: int) -> None:
    """Make a process group the terminal's foreground, also from the background, where that would stop us."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(fd, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _has_somebody_else(fd: int) -> bool:
    """Tell whether the terminal belongs to another process group: changing it would stop us."""
    try:
        return os.tcgetpgrp(fd) != os.getpgrp()
    except OSError:
        return False  # a terminal without job control
