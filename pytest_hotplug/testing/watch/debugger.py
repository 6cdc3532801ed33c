"""A debugger in a process that runs tests: it gets the terminal from the watcher, and gives it back.

The process is in a group of its own, in the background, and its input is the null device. Before pdb
speaks, it asks the watcher and waits; with the answer it is the terminal's foreground group. Where
there is no terminal, a breakpoint fails its test with a reason.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pdb
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from pytest_hotplug.testing.watch.messages import Tells

__all__ = ["Debugger", "register_debugger"]

_OF_PYTEST = ("pdbinvoke", "pdbtrace")  # what pytest registers for --pdb and --trace


def register_debugger(config: pytest.Config, possible: bool) -> Debugger:
    """Let pytest's debugger ask for the terminal; `possible` tells whether the watch has one."""
    debugger = Debugger(config, possible)
    config.pluginmanager.register(debugger, "hotplug-debugger")
    return debugger


class Debugger:
    """The pytest plugin; it can ask once it is connected, before that every breakpoint fails."""

    def __init__(self, config: pytest.Config, possible: bool) -> None:
        self._config = config
        self._possible = possible
        self._terminal: Terminal | None = None
        self._asleep: dict[str, Any] = {}  # pytest's own plugins, until we are connected
        self._continued = False
        if not possible:
            config.option.usepdb = config.option.trace = False  # the watcher has said so

    def connect(self, tells: Tells, answers: int) -> None:
        """Ask there from now on; the answer is a byte from the descriptor."""
        self._terminal = Terminal(tells, answers)
        for name, plugin in self._asleep.items():
            self._config.pluginmanager.register(plugin, name)
        self._asleep = {}

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Let those breakpoints fail that nobody could answer; pytest has put its debugger in place."""
        if not self._possible:
            pdb.set_trace = _no_debugger
        chosen = os.environ.get("PYTHONBREAKPOINT", "")
        if chosen != "0" and (not self._possible or chosen not in ("", "pdb.set_trace")):
            sys.breakpointhook = _no_debugger if not self._possible else _other_debugger
        if self._terminal is None:
            found = {name: config.pluginmanager.unregister(name=name) for name in _OF_PYTEST
                     if config.pluginmanager.hasplugin(name)}  # fmt: skip
            self._asleep = {name: plugin for name, plugin in found.items() if plugin is not None}

    def pytest_enter_pdb(self, pdb: Any) -> None:
        """Let a debugger that is about to begin have the terminal each time that it talks to the user."""
        __tracebackhide__ = True
        terminal = self._terminal
        if terminal is None or not terminal.is_ours:
            self._resume_capturing()
            _no_debugger()
            return
        pdb.nosigint = True  # Ctrl-C between two prompts is the watch's: it cancels the run
        pdb.interaction = self._with_terminal(terminal, pdb, pdb.interaction)

    def _with_terminal(self, terminal: Terminal, pdb: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def interaction(frame: FrameType | None, *more: Any, **options: Any) -> Any:
            self._suspend_capturing()  # it is on where a breakpoint is met again
            terminal.take(pdb.prompt)
            self._continued = False
            try:
                result = plain(frame, *more, **options)
            except BaseException:
                terminal.give_back()
                raise
            post_mortem = frame is None
            if post_mortem or self._continued or pdb.quitting:  # else it stops again some lines further on
                terminal.give_back()
            return result

        return interaction

    def pytest_leave_pdb(self) -> None:
        """Remember that the test goes on without stepping."""
        self._continued = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Any:
        """Give the terminal back when a test was stepped through to its end."""
        try:
            return (yield)
        finally:
            if self._terminal is not None:
                self._terminal.give_back()

    def _suspend_capturing(self) -> None:
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend(in_=True)

    def _resume_capturing(self) -> None:
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.resume()


class Terminal:
    """The terminal of the watch, in place of our standard streams from `take` to `give_back`."""

    def __init__(self, tells: Tells, answers: int) -> None:
        self._tells = tells
        self._answers = answers
        self._process = os.getpid()
        self._has = False
        self._before: dict[int, int] = {}  # standard descriptor -> a copy of what was there
        self._handlers: dict[int, Any] = {}
        self._prompt = ""

    @property
    def is_ours(self) -> bool:
        """Whether this process may ask: no child that a test has forked."""
        return os.getpid() == self._process

    def take(self, prompt: str) -> None:
        """Wait until the watcher has given us the terminal, as long as it takes."""
        if self._has:
            return
        self._prompt = prompt
        self._ask("debugger")
        self._has = True
        self._flush()
        terminal = os.open(os.ctermid(), os.O_RDWR)
        for fd in (0, 1, 2):
            if not os.isatty(fd):
                self._before[fd] = os.dup(fd)
                os.dup2(terminal, fd)
        os.close(terminal)
        if threading.current_thread() is threading.main_thread():
            for number, act in ((signal.SIGTSTP, self._suspend), (signal.SIGTERM, self._leave)):
                self._handlers[number] = signal.signal(number, act)

    def give_back(self) -> None:
        """Put everything back, if we have it; pytest may have begun to capture in the meantime."""
        if not self._has:
            return
        self._has = False
        self._flush()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for fd, copy in self._before.items():
            if os.isatty(fd):
                os.dup2(copy, fd)
            os.close(copy)
        self._handlers, self._before = {}, {}
        self._tells.send("debugged", process=self._process)

    def _ask(self, kind: str) -> None:
        self._tells.send(kind, process=self._process)
        os.read(self._answers, 1)

    def _flush(self) -> None:
        for stream in (sys.__stdout__, sys.__stderr__):
            if stream is not None:
                stream.flush()

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z at the prompt suspends the whole watch; the debugger goes on when that has the terminal again."""
        import termios

        mode = termios.tcgetattr(0)
        self._ask("suspended")
        with contextlib.suppress(termios.error):  # it was hung up: the end comes by itself
            termios.tcsetattr(0, termios.TCSADRAIN, mode)
        os.write(1, self._prompt.encode())

    def _leave(self, number: int, frame: FrameType | None) -> None:
        """End the debugger and the run, so that fixtures are torn down: at its prompt Ctrl-C would end neither."""
        self._handlers.pop(number, None)  # the watch repeats itself, and a teardown is to be left alone
        signal.signal(number, lambda number, frame: None)
        pytest.exit("the watch ended it in the debugger")


def _no_debugger(*_: Any, **__: Any) -> None:
    __tracebackhide__ = True
    pytest.fail("a breakpoint, but the watch has no terminal for a debugger [no-debugger]")


def _other_debugger(*_: Any, **__: Any) -> None:
    __tracebackhide__ = True
    name = os.environ["PYTHONBREAKPOINT"]
    pytest.fail(f"PYTHONBREAKPOINT={name} gets no terminal from the watch; name its class with --pdbcls [no-debugger]")
