"""A parent that only waits: whatever ends the watch, the terminal is put back, and the shell sees how it ended.

A process that is killed can put nothing back, and a helper beside it would be too late: the shell reads
its next line as soon as the process that it started is gone. So that process waits, and the watch is
its child. Both are one process group: what the terminal sends reaches both, and only what was sent to
the parent alone is passed on. The watch ends with its parent, too.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import termios
import threading
import traceback
from collections.abc import Callable
from typing import Any

from pytest_hotplug.testing.watch.fresh import forget_endings, leave
from pytest_hotplug.testing.watch.keys import give_terminal, is_terminal
from pytest_hotplug.testing.watch.surprises import why_not_fork

__all__ = ["Guarded", "guard"]

_PASSED_ON = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
              signal.SIGTSTP}  # fmt: skip
_SHOW_CURSOR = "\x1b[?25h\x1b[?2004l"  # and no bracketed paste, which a debugger's prompt had switched on


class Guarded:
    """The guarded process's view of its parent."""

    def __init__(self, parent: int, borrower: mmap.mmap) -> None:
        self._parent = parent  # the reading end of a pipe that closes when the parent is gone
        self._borrower = borrower

    def when_alone(self, act: Callable[[], object]) -> None:
        """Call this, on a thread of its own, if the parent is killed."""

        def wait() -> None:
            os.read(self._parent, 1)
            act()

        threading.Thread(target=wait, name="hotplug-parent", daemon=True).start()

    def lends(self, group: int) -> None:
        """Let the parent know which process group has the terminal from us, 0 for none."""
        self._borrower[:8] = group.to_bytes(8, "little")


def guard(work: Callable[[Guarded | None], int]) -> int:
    """Do the work in a child process and return its exit code; here where that can't be done.

    If a signal ended the child, it ends this process as well.
    """
    if not hasattr(signal, "sigwaitinfo") or why_not_fork():
        return work(None)
    before = termios.tcgetattr(sys.stdin.fileno())
    borrower = mmap.mmap(-1, 8)  # shared with the child
    alive, held = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(held)
        _do(work, Guarded(alive, borrower))
    os.close(alive)
    status = _wait_for(child)
    _put_back(before, int.from_bytes(borrower[:8], "little"), killed=os.WIFSIGNALED(status))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(held)
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _do(work: Callable[[Guarded | None], int], guarded: Guarded) -> None:
    """Leave with what the work returns; nothing above us may go on in two processes."""
    forget_endings()
    code = 3
    try:
        code = work(guarded)
    except KeyboardInterrupt:
        code = 2
    except BaseException:  # noqa: BLE001  # pytest, which would print it, is in the other process
        traceback.print_exc()
    finally:
        leave(code)


def _wait_for(child: int) -> int:
    """Return the status of the child's end; stop and go on as it does, pass on what we alone were sent."""
    while True:
        heard = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if heard.si_signo != signal.SIGCHLD:
            if heard.si_code <= 0:  # somebody's kill(); what the terminal sends, the child gets itself
                os.kill(child, heard.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if ended and not os.WIFSTOPPED(status):
            return status
        if ended:
            _stop()
            os.kill(child, signal.SIGCONT)


def _stop() -> None:
    """Stop as Ctrl-Z does, until somebody continues us."""
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})


def _put_back(before: list[Any], borrower: int, killed: bool) -> None:
    """Make the terminal what it was, unless the shell has it."""
    fd = sys.stdin.fileno()
    try:
        owner = os.tcgetpgrp(fd)
        if owner == borrower != 0:
            give_terminal(fd, os.getpgrp())
        elif owner != os.getpgrp():
            return
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
    except (OSError, termios.error):
        return  # it was closed: there is nothing to put back
    if killed and is_terminal(sys.stdout) and os.environ.get("TERM", "dumb") != "dumb":
        sys.stdout.write(_SHOW_CURSOR)
        sys.stdout.flush()


def _end_by(number: int) -> None:
    """End by a signal, without another core file."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
