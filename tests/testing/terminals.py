"""Somebody at a terminal: watch mode alone in it, or below a shell with job control."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.reloader.workshop import eventually
from tests.testing.watched import PATIENCE

termios = pytest.importorskip("termios", reason="a terminal needs POSIX")
pexpect = pytest.importorskip("pexpect", reason="a pseudo-terminal needs POSIX")


PDB = r"\(Pdb\) "


class Sitting:
    """Somebody at a terminal with `pytest --hotplug-watch` in it."""

    def __init__(self, project: Path, *arguments: str, columns: int = 200, **variables: str) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", **variables}
        self.child = pexpect.spawn(
            sys.executable, ["-m", "pytest", "--hotplug-watch", *arguments], cwd=str(project), env=environment,
            encoding="utf-8", timeout=PATIENCE, dimensions=(40, columns),
        )  # fmt: skip
        self.before = termios.tcgetattr(self.child.child_fd)

    def sees(self, *patterns: str) -> None:
        for pattern in patterns:
            self.child.expect(pattern)

    def types(self, line: str) -> None:
        self.child.sendline(line)

    def presses(self, key: str) -> None:
        self.child.send(key)

    @property
    def group(self) -> int:
        """Who has the terminal."""
        return os.tcgetpgrp(self.child.child_fd)

    @property
    def has_single_keys(self) -> bool:
        """Whether the watch has the terminal and reads keys."""
        flags: int = termios.tcgetattr(self.child.child_fd)[3]
        return self.group == self.child.pid and not flags & termios.ICANON

    def works(self) -> None:
        """The keys do what they always do."""
        eventually(lambda: self.has_single_keys, "single keys")
        self.presses("h")
        self.sees("run all tests")

    def leaves(self, code: int) -> None:
        self.presses("q")
        self.sees(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus == code

    def close(self) -> None:
        if self.child.isalive():
            self.child.kill(signal.SIGTERM)
            self.child.expect(pexpect.EOF)
        self.child.close()


class Shell:
    """An interactive shell with job control, in a terminal of its own."""

    def __init__(self, directory: Path) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "PS1": "ready> "}
        self.child = pexpect.spawn(
            "/bin/bash", ["--norc", "--noprofile", "--noediting", "-i"], cwd=str(directory), env=environment,
            encoding="utf-8", timeout=PATIENCE, dimensions=(40, 200),
        )  # fmt: skip
        self.sees("ready> ")

    def types(self, text: str) -> None:
        self.child.sendline(text)

    def presses(self, key: str) -> None:
        self.child.send(key)

    def sees(self, *patterns: str) -> None:
        for pattern in patterns:
            self.child.expect(pattern)

    @property
    def reads_lines(self) -> bool:
        """Whether the terminal is as shells leave it to programs: line by line, with echo."""
        flags: int = termios.tcgetattr(self.child.child_fd)[3]
        return flags & (termios.ICANON | termios.ECHO) == termios.ICANON | termios.ECHO

    def close(self) -> None:
        self.types("exit")
        self.child.expect(pexpect.EOF)
        self.child.close()
