"""A user in a project of their own, typing `hotplug` commands; real files, real processes.

Shared by the tests of this directory."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.architecture.project import environment

PATIENCE = 60.0  # seconds; every wait ends by an event long before
HOTPLUG = (sys.executable, "-m", "pytest_hotplug")
UNSET = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "DB_CHANGE_POLLING_INTERVAL")
GREET = "def run(name: str = 'world'):\n    return {'text': f'hello {name}'}\n"
MANIFEST = {"version": "1.0", "parameters": {"name": {"type": "string", "default": "world", "description": "whom"}}}


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the one object that `--json` printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Return the objects of JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class User:
    """Somebody at a shell in the directory `here`."""

    here: Path
    variables: dict[str, str] = field(default_factory=dict)

    def write(self, file: str, content: str | Mapping[str, Any]) -> Path:
        """Save a text, or a table as JSON, as editors do: beside, then renamed."""
        path = self.here / file
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(content if isinstance(content, str) else json.dumps(content))
        beside.replace(path)
        return path

    def plugin(self, name: str, main: str = GREET, manifest: Mapping[str, Any] | None = None) -> Path:
        """Make `plugins/<name>`."""
        self.write(f"plugins/{name}/plugin.json", {"name": name, **(MANIFEST if manifest is None else manifest)})
        return self.write(f"plugins/{name}/main.py", main).parent

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in environment().items() if name not in UNSET}
        return {**kept, **self.variables}

    def types(self, *arguments: str, **variables: str) -> Ran:
        """Run `hotplug` with `arguments` and return what it did."""
        done = subprocess.run(
            [*HOTPLUG, *arguments],
            cwd=self.here,
            env={**self.environment(), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def starts(self, *arguments: str, **variables: str) -> Running:
        """Start `hotplug` with `arguments` and leave it running; a context manager."""
        return Running([*HOTPLUG, *arguments], self.here, {**self.environment(), **variables})


class Running:
    """A command that runs beside the test; killed at the end if it still does."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self) -> str:
        """Return the next line of stdout."""
        line = self._lines.get(timeout=PATIENCE)
        assert line is not None, f"it ended: {self.process.stderr.read() if self.process.stderr else ''}"
        return line

    def until(self, **facts: Any) -> dict[str, Any]:
        """Return the next JSON line in which all of `facts` stand."""
        seen = []
        while True:
            told: dict[str, Any] = json.loads(self.line())
            seen.append(told)
            if facts.items() <= told.items():
                return told
            assert len(seen) < 50, f"no {facts} among {seen}"

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def in_a_terminal(user: User, *arguments: str, columns: int = 80, **variables: str) -> str:
    """Run `hotplug` in a pseudo-terminal of so many columns and return what stood on the screen."""
    import fcntl
    import pty
    import struct
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*HOTPLUG, *arguments],
        cwd=user.here,
        env={**user.environment(), "TERM": "xterm", **variables},
        stdin=other,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux says so when the other side was closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait(PATIENCE) == 0, shown
    return shown.decode().replace("\r\n", "\n")
