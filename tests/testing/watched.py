"""A project that is watched by a real `pytest --hotplug-watch`, and its events as they come."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE = 40.0

GREETER = {
    "main.py": "from text import hello\n\n\ndef run(name='you'):\n    return hello(name)\n",
    "text.py": "import json\nfrom importlib.resources import files\n\n"
    "WORD = json.loads(files(__package__).joinpath('words.json').read_text())['hello']\n\n\n"
    "def hello(name):\n    return f'{WORD} {name}'\n",
    "words.json": '{"hello": "hello"}',
    "plugin.json": '{"name": "greeter"}',
    "test_greeter.py": "def test_it_greets(hotplug):\n    assert hotplug.load().execute().endswith(' you')\n",
}
PIPELINE = {
    "main.py": "from plugins.greeter.text import hello\n\n\ndef run():\n    return hello('pipe')\n",
    "plugin.json": '{"name": "pipeline", "depends_on": ["greeter"]}',
    "test_pipeline.py": "def test_it_pipes(hotplug):\n    assert hotplug.load().execute().endswith(' pipe')\n",
}
COUNTER = {
    "main.py": "def run():\n    return 1\n",
    "plugin.json": '{"name": "counter"}',
    "test_counter.py": "def test_it_counts(hotplug):\n    assert hotplug.load().execute() == 1\n",
}


def make_project(root: Path) -> Path:
    """Write a project of three plugins; pipeline depends on greeter."""
    for name, files in (("greeter", GREETER), ("pipeline", PIPELINE), ("counter", COUNTER)):
        (root / "plugins" / name).mkdir(parents=True)
        for file, text in files.items():
            (root / "plugins" / name / file).write_text(text)
    (root / "pyproject.toml").write_text(
        '[tool.hotplug]\nplugin_dirs = ["plugins"]\n\n[tool.pytest.ini_options]\ntestpaths = ["plugins", "tests"]\n'
    )
    (root / "tests").mkdir()
    (root / "tests" / "test_apart.py").write_text("def test_apart():\n    pass\n")
    return root


def save(path: Path, old: str, new: str) -> None:
    """Edit a file as editors do: write beside, then rename."""
    text = path.read_text()
    assert old in text, f"{path} does not hold {old!r}"
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text.replace(old, new))
    beside.replace(path)


def delete(directory: Path) -> None:
    """Delete a directory as `rm -rf` does: processes that warm up meanwhile write, and take away, .pyc files in it."""
    deadline = time.monotonic() + PATIENCE
    while directory.exists():
        try:
            shutil.rmtree(directory)
        except OSError:
            if time.monotonic() > deadline:
                raise


class Watched:
    """`pytest --hotplug-watch` without a terminal, read through `--hotplug-events -`; a context manager."""

    def __init__(
        self,
        project: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
        patience: float = PATIENCE,
    ) -> None:
        self.patience = patience
        self.project = project
        self.events: list[dict[str, Any]] = []
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.process = subprocess.Popen(
            [python, "-m", "pytest", "--hotplug-watch", "--hotplug-events", "-", *arguments],
            cwd=project,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._spoke = threading.Condition()  # guards said
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._listen)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._inbox.put(json.loads(line))
        self._inbox.put(None)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._spoke:
                self.said.append(line)
                self._spoke.notify_all()

    def next(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """Return the next event of this kind with these facts."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                event = self._inbox.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                event = None
            if event is None:
                raise AssertionError(f"no {kind!r} came: {self.events[-5:]}\n{''.join(self.said[-40:])}")
            self.events.append(event)
            if event["event"] == kind and all(event.get(k) == v for k, v in wanted.items()):
                return event

    def next_within(self, seconds: float) -> dict[str, Any] | None:
        """Return the next event of any kind, or None if none comes in time."""
        try:
            event = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return None
        assert event is not None, f"the watch ended: {self.events[-5:]}\n{''.join(self.said[-40:])}"
        self.events.append(event)
        return event

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind that were read so far."""
        return [event for event in self.events if event["event"] == kind]

    def verdict(self) -> dict[str, Any]:
        """Return the next verdict."""
        return self.next("verdict")

    def chosen(self) -> set[str]:
        """Return the names of the tests that are selected next."""
        return {test["nodeid"].rpartition("::")[2] for test in self.next("selected")["tests"]}

    def wait_for_text(self, text: str) -> None:
        """Wait until the human output holds a text."""
        with self._spoke:
            heard = self._spoke.wait_for(lambda: text in "".join(self.said), PATIENCE)
        assert heard, f"{text!r} was never said:\n{''.join(self.said[-40:])}"

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the watch and return its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def __enter__(self) -> Watched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.end()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def children_of(pid: int) -> set[int]:
    """Return the process ids below a process."""
    import psutil

    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):  # it may go at any moment, also while it is read of
        return False
