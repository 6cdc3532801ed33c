"""The processes beside the watcher: a fresh one for a run, the one that runs are forked from, the plugins' host.

Their messages arrive in the watcher's queue. Starting and ending is all that happens here; they
end with the watcher, whatever ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from pytest_hotplug.testing.stash import CHOSEN_BY_WATCHER, ZYGOTE
from pytest_hotplug.testing.watch.arguments import environment_of_runs
from pytest_hotplug.testing.watch.channel import Channel
from pytest_hotplug.testing.watch.messages import Order
from pytest_hotplug.testing.watch.stopping import GRACE, Stoppable

__all__ = ["HostProcess", "Message", "TestRun", "Zygote"]

Message = tuple[str, Any]  # "run", "run-ended", "host", "host-ended" from here; "key", "hint" and others from elsewhere


class TestRun(Stoppable):
    """One run of pytest in a fresh process with a process group of its own."""

    __test__ = False

    def __init__(
        self,
        arguments: Sequence[str],
        directory: Path,
        order: Order,
        inbox: queue.SimpleQueue[Message],
        out: IO[Any] | None,
        debugger: bool,
    ) -> None:
        read, write = os.pipe()
        asks, self._answers = os.pipe()
        lifeline, self._lifeline = os.pipe()  # the run ends when our end of it closes, whatever closes it
        told = {"pipe": write, "answers": asks, "lifeline": lifeline, "debugger": debugger, "order": order.facts()}
        environment = {
            **environment_of_runs(os.environ),
            CHOSEN_BY_WATCHER: json.dumps(told),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            pass_fds=(write, asks, lifeline),
            process_group=0,
        )
        for fd in (write, asks, lifeline):
            os.close(fd)
        self._inbox = inbox
        self._lock = threading.Lock()  # guards the descriptors against being closed while they are used
        self._over = False
        ended, self._ended = os.pipe()
        for act in (self._await_end, partial(self._read, read, ended)):
            threading.Thread(target=act, name="hotplug-run", daemon=True).start()

    def _await_end(self) -> None:
        self._process.wait()
        os.close(self._ended)

    def _read(self, read: int, ended: int) -> None:
        """Pass messages on until the process is gone: a child that a test left may hold the pipe open for long."""
        begun = b""
        while read in select.select([read, ended], [], [])[0]:
            part = os.read(read, 1 << 16)
            if not part:
                break
            *lines, begun = (begun + part).split(b"\n")
            for line in lines:
                self._collected = True
                self._inbox.put(("run", (self, json.loads(line))))
        code = self._process.wait()
        self._signal(signal.SIGKILL)  # nobody will end what tests left running
        with self._lock:
            self._over = True
            for fd in (read, ended, self._lifeline, self._answers):
                os.close(fd)
        self._inbox.put(("run-ended", (self, code)))

    def go_on_alone(self, process: int) -> None:
        """Let the process go on, which has got the terminal."""
        self._signal(signal.SIGCONT)

    def answer(self, process: int) -> None:
        """Tell the process that it has the terminal."""
        with self._lock:
            if not self._over:
                os.write(self._answers, b"y")

    def _signal(self, number: signal.Signals) -> None:
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone already
            if not self._over:
                os.killpg(self._process.pid, number)

    def _wait(self, seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None


class Zygote:
    """The process that all warm ones are forked from, and the lifeline of them all."""

    def __init__(self, arguments: Sequence[str], directory: Path, out: IO[Any], debugger: bool) -> None:
        self.channel, theirs = Channel.pair()
        lifeline, self._lifeline = os.pipe()
        streams = [os.dup(out.fileno()), os.dup(sys.stderr.fileno())]
        told = {"socket": theirs.fileno(), "lifeline": lifeline, "streams": streams, "debugger": debugger}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=directory,
            env={**environment_of_runs(os.environ), ZYGOTE: json.dumps(told)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what it says before a run is no part of any run
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), lifeline, *streams),
            process_group=0,
        )
        theirs.close()
        for fd in (lifeline, *streams):
            os.close(fd)

    def stop(self) -> int:
        """Let it and all that come from it end; return its exit code. One that doesn't is killed."""
        os.close(self._lifeline)
        try:
            return self._process.wait(GRACE + 1)  # it waits for its children
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()


class HostProcess:
    """The host, started again when a plugin took it down."""

    def __init__(self, settings: dict[str, Any], root: Path, inbox: queue.SimpleQueue[Message]) -> None:
        self._inbox = inbox
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest_hotplug.testing.watch.host"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
        )
        self._send({"settings": settings, "root": str(root)})
        threading.Thread(target=self._read, name="hotplug-host", daemon=True).start()

    def look(self, plugins: Sequence[str]) -> None:
        """Let the host load or reload these plugins."""
        if plugins:
            self._send({"plugins": list(plugins)})

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None, "the host is started with a pipe"
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it died: its end is in the inbox

    def _read(self) -> None:
        assert self._process.stdout is not None, "the host is started with a pipe"
        for line in self._process.stdout:
            self._inbox.put(("host", json.loads(line)))
        self._inbox.put(("host-ended", (self, self._process.wait())))

    def stop(self) -> None:
        """End the host; one that hangs in a plugin is killed."""
        assert self._process.stdin is not None, "the host is started with a pipe"
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            return
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
