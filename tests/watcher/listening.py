"""What the watcher's tests share: a listener that waits for what it is told, and atomic saves, scripts in
their own process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_hotplug.watcher import Batch

# Far beyond what anything here takes: reached only when a promise is broken.
PATIENCE = 10.0


class Listener:
    """Receive batches and let a test wait until it has heard something."""

    def __init__(self) -> None:
        self._told = threading.Condition()
        self._batches: list[Batch] = []

    def __call__(self, batch: Batch) -> None:
        with self._told:
            self._batches.append(batch)
            self._told.notify_all()

    @property
    def batches(self) -> list[Batch]:
        with self._told:
            return list(self._batches)

    @property
    def paths(self) -> set[Path]:
        return {path for batch in self.batches for path in batch.paths}

    def forget(self) -> None:
        with self._told:
            self._batches.clear()

    def hears(self, *paths: Path) -> bool:
        """Wait until every path was told in some batch."""
        return self.until(lambda batches: set(paths) <= {path for batch in batches for path in batch.paths})

    def until(self, wanted: Callable[[list[Batch]], bool], patience: float = PATIENCE) -> bool:
        with self._told:
            return self._told.wait_for(lambda: wanted(self._batches), patience)


def save(path: Path, text: str) -> None:
    """Save as a careful editor does: write beside, then rename over."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def point(link: Path, target: str | Path) -> None:
    """Let a symbolic link point elsewhere, in one step as deployments do."""
    beside = link.with_name("." + link.name + ".new")
    beside.symlink_to(target)
    os.replace(beside, link)


def wait_until(true: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Wait for a condition that nobody announces."""
    pause = threading.Event()
    for _ in range(int(patience / 0.01)):
        if true():
            return True
        pause.wait(0.01)
    return true()


def inotify_instances() -> int:
    """Return how many this process has, the native watcher's included."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            count += "inotify" in os.readlink(f"/proc/self/fd/{fd}")
    return count


def run_script(script: str, *arguments: Path | str, before: Sequence[str] = ()) -> str:
    """Run a script in its own interpreter, let nothing go wrong there, and return what it printed."""
    ended = subprocess.run(
        [*before, sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout
