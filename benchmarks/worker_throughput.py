"""Claim: a worker with hot reload on answers as many calls as one with hot reload off, but for 5 %.

Two workers serve the same 20 plugins of 5 files, in processes of their own; hot reload is disabled in
one. Contestants take turns: each round is a few hundred calls over the unix socket, on four
connections at once, that go round all plugins. Every answer is looked at. Needs the extra `worker`.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.harness import Claim, Contestant, allow_bytecode, run

PLUGINS = 20
CONNECTIONS = 4
CALLS = 100  # of each connection, in a round
OFF, ON = "hot reload off", "hot reload on"
SECONDS_UNTIL_OLD = 2.5  # younger files are looked at more closely


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))

    def execute(self, plugin: int) -> object:
        """Return what a plugin's entry returned."""
        self.request("POST", f"/plugins/plugin_{plugin:02}/execute", b"{}")
        answer = self.getresponse().read()
        return json.loads(answer).get("result")


def claims() -> Iterator[Claim]:
    """Yield the one claim, while both workers run."""
    with ExitStack() as undo:
        off = undo.enter_context(worker(hot_reload=False))
        on = undo.enter_context(worker(hot_reload=True))
        time.sleep(SECONDS_UNTIL_OLD)
        contestants = [by_calls(OFF, off), by_calls(ON, on)]
        yield Claim(f"{CONNECTIONS * CALLS} calls over {CONNECTIONS} connections", OFF, contestants)


@contextmanager
def worker(*, hot_reload: bool) -> Iterator[Path]:
    """Run a worker in a project of its own and give its socket."""
    place = Path(tempfile.mkdtemp(prefix="hp-"))
    try:
        for number in range(PLUGINS):
            write_plugin(place / "plugins" / f"plugin_{number:02}", number)
        environment = {**os.environ, "HOTPLUG_LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "pytest_hotplug"]
        quiet = {"cwd": place, "env": environment, "check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([*command, "enable" if hot_reload else "disable"], **quiet)  # type: ignore[call-overload]
        subprocess.run([*command, "start", "--detach"], **quiet)  # type: ignore[call-overload]
        try:
            yield place / ".hotplug" / "run" / "worker.sock"
        finally:
            subprocess.run([*command, "stop"], **quiet)  # type: ignore[call-overload]
    finally:
        shutil.rmtree(place)


def write_plugin(directory: Path, number: int) -> None:
    """Write a plugin of five files whose entry returns its number."""
    directory.mkdir(parents=True)
    for name in ("one", "two", "three"):
        (directory / f"{name}.py").write_text(f"NUMBER = {number}\n")
    (directory / "main.py").write_text("from . import one, three, two\n\ndef run():\n    return one.NUMBER\n")
    (directory / "plugin.json").write_text('{"version": "1.0"}')


def by_calls(name: str, path: Path) -> Contestant:
    """Return a contestant that calls one worker."""
    connections = [_Connection(path) for _ in range(CONNECTIONS)]

    def calls(number: int) -> list[str]:
        wrong: list[str] = []

        def call(connection: _Connection, first: int) -> None:
            for step in range(CALLS):
                plugin = (first + step) % PLUGINS
                if (result := connection.execute(plugin)) != plugin:
                    wrong.append(f"plugin {plugin} returned {result!r}")

        threads = [threading.Thread(target=call, args=(c, 5 * n)) for n, c in enumerate(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return wrong

    return Contestant(name, calls, lambda number, wrong: wrong[0] if wrong else "")


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(run("worker_throughput", claims))
