"""`<state_dir>/run`: where workers leave their sockets, and where they are found.

One worker of a name at a time: it holds `NAME.lock` for as long as it lives, however it ends. Knows
nothing of what is said over a socket.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_hotplug.reloader.errors import HotplugError, UsageError, near, visible
from pytest_hotplug.reloader.file_lock import file_lock

__all__ = ["RunDir", "answers", "worker_name"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
PATIENCE = 1.0  # seconds for a socket to take a connection


def worker_name(text: str) -> str:
    """Return a worker's name with `{pid}` filled in; raises UsageError `[bad-setting]`."""
    name = text.replace("{pid}", str(os.getpid()))
    if _NAME.fullmatch(name) is None:
        rule = "use letters, digits, _, . and -, at most 64 ({pid} stands for the process)"
        raise UsageError(f"setting 'worker_name': {text!r} can't name a worker; {rule}", "bad-setting")
    return name


class RunDir:
    """The sockets, locks and numbers of the workers of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "run"

    def socket(self, name: str) -> Path:
        return self.path / f"{name}.sock"

    def names(self) -> list[str]:
        """Return the names of which a socket lies there, whether or not anybody listens."""
        try:
            return sorted(entry[: -len(".sock")] for entry in os.listdir(self.path) if entry.endswith(".sock"))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def live(self) -> list[str]:
        """Return the names of the workers that take connections."""
        return [name for name in self.names() if answers(self.socket(name))]

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Be the worker of this name, with its number in `NAME.pid`.

        Raises HotplugError `[already-running]`, and `[state-unusable]` where nothing can be written.
        """
        pid_file = self.path / f"{name}.pid"
        lock = file_lock(self.path / f"{name}.lock", 0)
        with self._usable():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(self.path, 0o700)
            try:
                lock.__enter__()
            except TimeoutError:
                raise self._running(name, pid_file) from None
        try:
            with self._usable():
                pid_file.write_text(f"{os.getpid()}\n", "ascii")
            yield
        finally:
            with suppress(OSError):  # the directory may be gone, and a successor's number may lie there
                if pid_file.read_text("ascii", "replace") == f"{os.getpid()}\n":
                    pid_file.unlink()
            lock.__exit__(None, None, None)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = f"{error.strerror or error}: {visible(near(Path(error.filename or self.path)))}"
            raise HotplugError(f"the directory of workers can't be used: {why} [state-unusable]") from None

    def is_held(self, name: str) -> bool:
        """Tell whether a process is the worker of this name, also while it no longer takes connections."""
        if not (self.path / f"{name}.lock").exists():
            return False
        try:
            with file_lock(self.path / f"{name}.lock", 0):
                return False
        except TimeoutError:
            return True

    def _running(self, name: str, pid_file: Path) -> HotplugError:
        who = ""
        with suppress(OSError):
            who = f" (process {visible(pid_file.read_text('ascii', 'replace').strip())})"
        place = visible(near(self.path))
        way_out = "stop it with 'hotplug stop', or give this one another name: --worker NAME"
        return HotplugError(f"a worker named {name!r} runs already in {place}{who}; {way_out} [already-running]")


def answers(path: Path) -> bool:
    """Tell whether somebody takes connections at this socket."""
    if not hasattr(socket, "AF_UNIX"):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True
