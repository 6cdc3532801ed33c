"""Claim: a worker with hot reload on answers as many calls as one with hot reload off, but for 5 %.

One worker serves 20 plugins of 5 files, and hot reload is switched off and on in it: two workers that
do the same differ by as much as is to be shown. Each round is a few hundred calls over the unix socket,
on four connections at once, that go round all plugins. Every answer is looked at. Needs the extra `worker`.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        return self.post(f"/plugins/plugin_{plugin:02}/execute").get("result")

    def post(self, path: str) -> dict[str, Any]:
        """Return what is answered; raises RuntimeError where it is no success."""
        self.request("POST", path, b"{}")
        answer = self.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path}: {answer.status} {body!r}")
        return dict(json.loads(body))


def claims() -> Iterator[Claim]:
    """Yield the one claim, while the worker runs."""
    with worker() as path:
        time.sleep(SECONDS_UNTIL_OLD)
        connections = [_Connection(path) for _ in range(CONNECTIONS)]
        contestants = [by_calls(OFF, "/disable", connections), by_calls(ON, "/enable", connections)]
        yield Claim(f"{CONNECTIONS * CALLS} calls over {CONNECTIONS} connections", OFF, contestants)


@contextmanager
def worker() -> Iterator[Path]:
    """Run a worker in a project of its own and give its socket."""
    place = Path(tempfile.mkdtemp(prefix="hp-"))
    try:
        for number in range(PLUGINS):
            write_plugin(place / "plugins" / f"plugin_{number:02}", number)
        environment = {**os.environ, "HOTPLUG_LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "pytest_hotplug"]
        quiet = {"cwd": place, "env": environment, "check": True, "stdout": subprocess.DEVNULL}
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


def by_calls(name: str, switch: str, connections: Sequence[_Connection]) -> Contestant:
    """Return a contestant that calls the worker once it was switched, and each plugin was called."""

    def switched(number: int) -> None:
        connections[0].post(switch)
        for plugin in range(PLUGINS):
            connections[0].execute(plugin)

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

    return Contestant(name, calls, lambda number, wrong: wrong[0] if wrong else "", prepare=switched)


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(run("worker_throughput", claims))
