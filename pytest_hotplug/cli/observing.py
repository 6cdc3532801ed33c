"""Watch mode in a process beside us, and its events as they come: how the demo sees tests rerun."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from pytest_hotplug.reloader.errors import HotplugError

__all__ = ["Observer"]

PATIENCE = 120.0  # seconds that one run of the examples may take on a slow machine


class Observer:
    """Runs `pytest --hotplug-watch` in a project and hands out its verdicts; a context manager."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def __enter__(self) -> Observer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "--hotplug-watch", "--hotplug-events", "-", "-q"],
            cwd=self._project,
            env={k: v for k, v in os.environ.items() if not k.startswith(("HOTPLUG_", "PYTEST_"))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._listen)]
        for reader in self._readers:
            reader.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None, "started with a pipe"
        for line in self._process.stdout:
            self._events.put(json.loads(line))
        self._events.put(None)

    def _listen(self) -> None:
        assert self._process.stderr is not None, "started with a pipe"
        self._said.extend(self._process.stderr)

    def next_verdict(self) -> dict[str, Any]:
        """Return the next verdict, with how many tests were left out; raises HotplugError."""
        left_out = 0
        while True:
            try:
                event = self._events.get(timeout=PATIENCE)
            except queue.Empty:
                event = None
            if event is None:
                said = "".join(self._said[-20:])
                raise HotplugError(f"watch mode gave no verdict:\n{said} [watch-ended]")
            if event["event"] == "selected":
                left_out = event["left_out"]
            if event["event"] == "verdict":
                return {**event, "left_out": left_out}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
