"""Watch mode in a terminal: whatever is killed, the terminal is as before and no process is left."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.cli.terminal import wait_for
from tests.reloader.workshop import eventually
from tests.testing.terminals import PDB, Shell, Sitting
from tests.testing.watched import children_of, is_alive, make_project, save

termios = pytest.importorskip("termios", reason="a terminal needs POSIX")
pexpect = pytest.importorskip("pexpect", reason="a pseudo-terminal needs POSIX")
pytestmark = pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the parent needs to know who sent a signal")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def watcher_below(pid: int) -> int:
    """Return the one process that the parent waits for."""
    (watcher,) = psutil.Process(pid).children()
    return watcher.pid


@pytest.mark.parametrize("moment", ["at rest", "in a test", "in a debugger"])
def test_a_killed_watcher_leaves_the_terminal_as_it_was(
    project: Path, sit: Callable[..., Sitting], moment: str
) -> None:
    """SIGKILL: settings equal to before, the cursor shown, no process left, and the caller sees how it ended."""
    watch = sit("--pdb")
    watch.sees("4 passed", "q quits")
    eventually(lambda: watch.has_single_keys, "single keys")
    began = project / "began"
    pauses = f"__import__('pathlib').Path({str(began)!r}).touch(); __import__('signal').pause()"
    if moment == "in a test":
        save(project / "tests" / "test_apart.py", "    pass", f"    {pauses}")
        wait_for(began)
    elif moment == "in a debugger":
        save(project / "tests" / "test_apart.py", "    pass", "    1 / 0")
        watch.sees(PDB)
    below = children_of(watch.child.pid)
    assert len(below) >= 2
    os.kill(watcher_below(watch.child.pid), signal.SIGKILL)
    watch.sees(r"\x1b\[\?25h", pexpect.EOF)
    assert termios.tcgetattr(watch.child.child_fd) == watch.before
    watch.child.close()
    assert watch.child.signalstatus == signal.SIGKILL
    eventually(lambda: not [pid for pid in below if is_alive(pid)], "the end of all of them")


@pytest.mark.parametrize("debugging", [False, True], ids=["at rest", "in a debugger"])
def test_a_killed_parent_takes_everything_along(project: Path, shell: Shell, debugging: bool) -> None:
    """SIGKILL of the process that the shell started: the shell has its terminal, and nothing goes on."""
    shell.types(f"'{sys.executable}' -m pytest --hotplug-watch --pdb")
    shell.sees("4 passed", "q quits")
    (parent,) = psutil.Process(shell.child.pid).children()
    if debugging:
        save(project / "tests" / "test_apart.py", "    pass", "    1 / 0")
        shell.sees(PDB)
    below = children_of(parent.pid)
    assert len(below) >= 2
    parent.kill()
    shell.sees("Killed", "ready> ")
    eventually(lambda: not [pid for pid in below if is_alive(pid)], "the end of all of them")
    eventually(lambda: shell.reads_lines, "the shell's terminal")
    shell.types("echo the shell is $((6 * 7))")
    shell.sees("the shell is 42", "ready> ")


def test_signals_to_the_started_process_reach_the_watch_once(sit: Callable[..., Sitting], project: Path) -> None:
    """kill -INT cancels the run and no more, as Ctrl-C does; kill -TERM ends the watch with its exit code."""
    save(project / "tests" / "test_apart.py", "    pass", "    __import__('signal').pause()")
    watch = sit()
    watch.sees(r"test_apart\.py")
    os.kill(watch.child.pid, signal.SIGINT)
    watch.sees("run cancelled")
    watch.works()
    watch.presses("a")
    watch.sees(r"test_apart\.py")
    watch.presses("\x03")
    watch.sees("run cancelled")
    watch.works()
    os.kill(watch.child.pid, signal.SIGTERM)
    watch.sees(pexpect.EOF)
    assert termios.tcgetattr(watch.child.child_fd) == watch.before
    watch.child.close()
    assert watch.child.exitstatus == 0


def test_what_goes_wrong_inside_is_shown_once(project: Path, sit: Callable[..., Sitting]) -> None:
    """An events file that can't be written: pytest's line, its exit code, and one process that says so."""
    watch = sit("--hotplug-events=plugins")
    watch.sees("can't be written", pexpect.EOF)
    assert watch.child.before.count("can't be written") == 0
    watch.child.close()
    assert watch.child.exitstatus == 4
